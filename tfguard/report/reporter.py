"""
Where messages go: as text to people, as events to machines, always on stderr.

With `--log-format json` every message is one event with the same text in `message`; on a console it is the text
alone. `--quiet` leaves only what went wrong; `--verbose` shows each event with its facts too, and how things happen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfguard import redaction
from tfguard.errors import Outcome, TfguardError
from tfguard.outlet import write_to_stderr
from tfguard.report import log
from tfguard.report.listener import LISTENERS
from tfguard.text import harmless

if TYPE_CHECKING:
    from tfguard.jobfiles.story import ReportFile
    from tfguard.report.job_page import JobPage
    from tfguard.report.messages.phrases import Subject
    from tfguard.report.run_ended import RunEnded

Level = Literal["info", "warning", "error"]


class Reporter:
    """
    Says things once, in the form that was asked for. Never raises.

    `last_words` gives the end of what the last program has printed, as far as it went through us.
    """

    page: JobPage | None = None
    _is_json = False
    _is_quiet = False
    _is_verbose = False

    def __init__(self, log_format: log.Format, verbosity: int, reports: Sequence[ReportFile] = ()) -> None:
        self._is_json = log_format == "json"
        self._is_quiet = verbosity < 0
        self._is_verbose = verbosity > 0
        self._log = log.get_logger()
        self.page = _job_page(reports)
        self.last_words: Callable[[], str] = str

    def say(self, level: Level, event: str, text: str, **facts: Any) -> None:
        """Tell people `text`, or machines `event` and its facts."""
        text = harmless(redaction.redact(text))  # In this order: a secret is known as it is.
        if self.page is not None:
            self.page.hear(level, event, text, facts)
        if self._is_json:
            getattr(self._log, level)(event, message=" ".join(text.splitlines()), **facts)
            return
        if level != "info" or not self._is_quiet:
            write_to_stderr(text + "\n")
        self._log.debug(event, **facts)

    @property
    def is_live(self) -> bool:
        """Whether somebody watches, on a terminal where a line can be kept up to date."""
        if self._is_json or self._is_quiet or os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb":
            return False
        return os.isatty(2)

    def note_signal(self, number: int) -> None:
        """Remember, should we be killed next, that the run was asked to stop."""
        if self.page is not None:
            self.page.note_signal(number)

    def detail(self, event: str, **facts: Any) -> None:
        """Tell how something happens, to those who asked for it."""
        self._log.debug(event, **facts)

    def fail(self, error: TfguardError, subject: Subject, **facts: Any) -> None:
        """Say what went wrong."""
        from tfguard.report.messages.failing import failure

        text = failure(error, subject)
        self.say("error", "run.failed", text, label=subject.label, reason=error.outcome.value, **facts)

    def finish(self, ended: RunEnded) -> None:
        """
        Write the one canonical line that ends a run; of a run that went wrong, even when quiet.

        Who watches on a terminal has seen a run that went well: it ends in a sentence where it has waited, or in none.
        """
        if self.is_live and not self._is_verbose and ended.is_plain:
            from tfguard.report.messages.running import released

            if text := released(ended):
                write_to_stderr(harmless(text) + "\n")
        else:
            level = "info" if ended.outcome is Outcome.SUCCEEDED else "warning"
            getattr(self._log, level)("run.finished", **ended.as_event())
        self.tell_end(ended)

    def tell_end(self, ended: RunEnded) -> None:
        """Tell how it ended, where nothing was run and so no line ends it."""
        if ended.outcome is Outcome.FAILED and (cure := self._cure()):
            self.say("warning", "failure.recognised", f"{ended.label}: {cure}", label=ended.label)
        if self.page is not None:
            self.page.finish(ended)

    def _cure(self) -> str:
        """Return what helps against what has been printed, empty where nobody knows."""
        if self.page is not None:
            return self.page.cure()
        words = self.last_words()
        if not words:
            return ""
        from tfguard.report.said import Said  # Only who has failed pays for it.

        return Said(words).cure


def _job_page(reports: Sequence[ReportFile]) -> JobPage | None:
    if not any(is_wanted(os.environ, reports) for _, is_wanted in LISTENERS):
        return None  # What a page needs is imported only where there is one.
    from tfguard.report.job_page import JobPage

    return JobPage.of(os.environ, reports)
