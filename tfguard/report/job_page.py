"""
What a run shows besides its streams: marks around Terraform's text, annotations, step outputs, a summary, reports.

On the CI platform only where `TFGUARD_CI_LOG=1` says so, as our action and template do: whoever pipes our stdout
elsewhere gets it untouched. What surrounds Terraform's text goes to stdout, as that does; annotations to stderr: stdout
may be data. Reports are written wherever `--report` asks for them.

What is gathered stands beside the run's record until it has been told: if the front is killed, `settle` tells it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tfguard import files, redaction
from tfguard.ci import identity
from tfguard.jobfiles import run_record, story
from tfguard.jobfiles.story import PlanFiles, ReportFile, Story
from tfguard.jobfiles.transcript import Transcript
from tfguard.report import log, report_file, summary
from tfguard.report.run_ended import RunEnded
from tfguard.terraform.plan_json import PlannedChanges, read_closing_line

#: GitHub shows ten annotations of a step, each cut after 4096 signs.
_MAX_ANNOTATIONS = 10
_MAX_ANNOTATION = 2000
#: Only then it is of interest whom we saw holding the lock last.
_HELD_BY_ANOTHER = frozenset({"lock-timeout", "lock-lost"})
_ANNOTATED = re.compile(
    r"run\.failed|run\.timed_out|lease\.(lost|taken_over)|plan\.stale|state\.\w+|settle\.(released|failed)"
)


class JobPage:
    """
    One run's page. Nothing here raises: what cannot be written is left out.

    `record` is where the run's record is, or would be: what is gathered stands beside it from `begin` on.
    """

    def __init__(
        self, environ: Mapping[str, str], told: Story, record: Path, *, is_github: bool, is_gitlab: bool
    ) -> None:
        self.story = told
        self.record = record
        self.is_github = is_github
        self.is_gitlab = is_gitlab
        self._environ = environ
        self._transcript: Transcript | None = None
        self._is_fenced = False
        self._scratch = ""

    @classmethod
    def of(cls, environ: Mapping[str, str], reports: Sequence[ReportFile] = ()) -> JobPage | None:
        """Give the page of a run that begins; None where nobody asked for one."""
        record = Path(run_record.new_path(environ))
        return cls._made(environ, Story(reports=tuple(reports), front=story.own_mark()), record)

    @classmethod
    def of_killed(cls, environ: Mapping[str, str], record: Path, notes: Sequence[str] = ()) -> JobPage | None:
        """Give the page that a killed front has left beside a record, with more to note; None if it has been told."""
        told = story.read(record)
        if told is None:
            return None
        told.notes = [*told.notes, *notes]
        made = cls._made(environ, told, record)
        if made is not None:
            made._transcript = Transcript.find(record.with_suffix(run_record.TEXT_SUFFIX))
        return made

    @classmethod
    def _made(cls, environ: Mapping[str, str], told: Story, record: Path) -> JobPage | None:
        is_asked = environ.get("TFGUARD_CI_LOG") == "1"
        is_github = is_asked and environ.get("GITHUB_ACTIONS") == "true"
        is_gitlab = is_asked and environ.get("GITLAB_CI") == "true"
        if not (is_github or is_gitlab or told.reports):
            return None
        return cls(environ, told, record, is_github=is_github, is_gitlab=is_gitlab)

    def begin(self, label: str, *, is_plan: bool = False) -> Transcript:
        """Terraform is about to be started: give what keeps its text. From now on `settle` could tell the story."""
        if self._transcript is None:
            self._transcript = Transcript.create(self.record.with_suffix(run_record.TEXT_SUFFIX))
        self.story.label, self.story.is_plan = label, is_plan
        self.story.save(self.record)
        return self._transcript

    def forget(self) -> None:
        """It has been told, or there is nothing to tell."""
        if self._transcript is not None:
            self._transcript.close()
            self._transcript = None
        run_record.forget_story(self.record)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    # --- Terraform's text ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def fenced(self, words: Sequence[str], to: int = 1) -> Iterator[None]:
        """
        Put Terraform's text between marks, in which GitHub obeys none of its lines. `to`: the stream that it goes to.

        A command whose stdout is data (`-json`) is left alone.
        """
        if not (self.is_github or self.is_gitlab) or is_data(words):
            yield
            return
        title = " ".join(["terraform", *words[:1]])
        token = secrets.token_hex(16)
        self._open(title, token, to)
        self._is_fenced = True
        try:
            yield
        finally:
            self._is_fenced = False
            self._close(token, to)

    def _open(self, title: str, token: str, to: int) -> None:
        if self.is_github:
            _print(f"::group::{identity.escape_github(title)}", to)
            _print(f"::stop-commands::{token}", to)
        else:
            _print(f"\x1b[0Ksection_start:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K{title}", to)

    def _close(self, token: str, to: int) -> None:
        if self.is_github:
            _print(f"\n::{token}::", to)  # Terraform's last line may have had no end.
            _print("::endgroup::", to)
        else:
            _print(f"\x1b[0Ksection_end:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K", to)

    # --- what we say --------------------------------------------------------------------------------------------

    def hear(self, level: str, event: str, text: str, facts: Mapping[str, Any]) -> None:
        """Note a message for the page, and annotate with it if it is worth that."""
        if facts.get("holder"):
            self.story.holder = msgspec.json.encode(facts["holder"], enc_hook=str).decode()
        if level != "info" and _ANNOTATED.fullmatch(event):
            self._annotate(level, redaction.redact(text))

    def note_signal(self, number: int) -> None:
        """Note what asked the run to stop; the first one counts."""
        self.story.stopped_by = self.story.stopped_by or number
        self._keep()

    def _annotate(self, level: str, text: str) -> None:
        self.story.notes.append(text)
        if self.is_github and len(self.story.notes) <= _MAX_ANNOTATIONS:
            line = f"::{level} title=tfguard::{identity.escape_github(text[:_MAX_ANNOTATION])}"
            if self._is_fenced:
                self.story.queued.append(line)
            else:
                _print(line, to=2)
        self._keep()

    def _keep(self) -> None:
        if self._transcript is not None:
            self.story.save(self.record)

    # --- the end ------------------------------------------------------------------------------------------------

    def finish(self, ended: RunEnded) -> None:
        """Write outputs, summary and reports of a run that has ended."""
        # Only now: of stdout and stderr the runner may read either first, and inside the fence it would not obey.
        for line in self.story.queued:
            _print(line, to=2)
        self.story.queued.clear()
        page = self._page(ended)
        if self.is_github:
            self._append("GITHUB_OUTPUT", "".join(_output(name, value) for name, value in self._outputs(page).items()))
            self._append_summary(page)
        for report in self.story.reports:
            try:
                report_file.write(report, page)
            except OSError as error:
                log.get_logger().warning("report.failed", path=report.path, error=error.strerror)
        self.forget()

    def _page(self, ended: RunEnded) -> summary.Page:
        who = identity.identify(self._environ)
        text = self._transcript.read() if self._transcript is not None else ""
        return summary.Page(
            label=ended.label or self.story.label or "tfguard",
            outcome=ended.outcome.value,
            exit_code=ended.exit_code,
            who=who.who,
            run=who.run,
            link=who.link,
            waited=ended.waited_seconds,
            held=ended.held_seconds,
            lock_id=ended.lock_id,
            token=ended.token or None,
            changes=self.story.changes or self._said(text),
            text=text,
            notes=tuple(self.story.notes),
        )

    def _said(self, text: str) -> PlannedChanges | None:
        """What Terraform's closing line counts. An apply's plan is none: it may have got no further."""
        changes = read_closing_line(summary.plain(text))
        return changes if changes is not None and (changes.is_done or self.story.is_plan) else None

    def _outputs(self, page: summary.Page) -> dict[str, str]:
        found = {name: str(value) for name, of in OUTPUTS.items() if (value := of(page)) is not None and value != ""}
        if self.story.holder and page.outcome in _HELD_BY_ANOTHER:
            found["lock-holder"] = self.story.holder
        if page.changes is not None:
            found |= {name: str(getattr(page.changes, name)) for name in ("add", "change", "destroy")}
            if not page.changes.is_done:  # The closing line of an apply does not count what changed in outputs.
                found["has-changes"] = str(page.changes.has_changes).lower()
        if self.story.files is not None:
            paths = {"plan-path": self.story.files.plan, "plan-json-path": self.story.files.shown}
            found |= {name: path for name, path in paths.items() if os.path.exists(path)}
        return found

    def _append_summary(self, page: summary.Page) -> None:
        """Of all that one step appends, GitHub shows nothing if it is too much: the first has the most room."""
        path = self._environ.get("GITHUB_STEP_SUMMARY", "")
        written = os.path.getsize(path) if os.path.isfile(path) else 0
        room = summary.LIMIT_BYTES - written
        if room >= summary.SMALLEST_LIMIT_BYTES:
            self._append("GITHUB_STEP_SUMMARY", summary.render(page, room))

    def _append(self, variable: str, text: str) -> None:
        path = self._environ.get(variable)
        if path:
            with contextlib.suppress(OSError), open(path, "a", encoding="utf-8", errors="replace") as file:
                file.write(text)

    # --- plans --------------------------------------------------------------------------------------------------

    def place_plan(self, given: str | None, *, is_unattended: bool) -> PlanFiles | None:
        """
        Say where the plan goes: where the user said, else into a folder of the job's, else into one that goes with us.

        None where a person watches: Terraform would advise applying a file that is about to be deleted.
        """
        environ = self._environ
        try:
            if environ.get("RUNNER_TEMP"):
                folder = tempfile.mkdtemp(prefix="tfguard-plan-", dir=environ["RUNNER_TEMP"])
            elif environ.get("CI_PROJECT_DIR"):
                folder = os.path.join(environ["CI_PROJECT_DIR"], ".tfguard")
                files.make_folder(Path(folder))
            elif given or is_unattended:
                folder = self._scratch = tempfile.mkdtemp(prefix="tfguard-")
            else:
                return None
        except OSError:
            return None
        plan, shown = given or os.path.join(folder, "tfplan"), os.path.join(folder, "tfplan.json")
        self.story.files = PlanFiles(plan=plan, shown=shown)
        return self.story.files

    def take_changes(self, changes: PlannedChanges | None) -> None:
        """Take what the plan will do; GitLab's merge requests show it from a report of their own form."""
        self.story.changes = changes
        self._keep()
        if self.is_gitlab and self.story.files is not None and changes is not None:
            report = {"create": changes.add, "update": changes.change, "delete": changes.destroy}
            with contextlib.suppress(OSError):
                files.write(Path(self.story.files.shown).with_name("report.json"), msgspec.json.encode(report))


#: Output → what of a run it tells; what is None or empty is left out. The others depend on more than the run's end.
OUTPUTS: Mapping[str, Callable[[summary.Page], object]] = {
    "exit-code": lambda page: page.exit_code,
    "outcome": lambda page: page.outcome,
    "lock-id": lambda page: page.lock_id,
    "fencing-token": lambda page: page.token,
    "waited-seconds": lambda page: page.waited,
    "held-seconds": lambda page: page.held,
}


def is_data(words: Sequence[str]) -> bool:
    """Whether a program reads what Terraform will print for these words."""
    return any(word in ("-json", "--json") or word.startswith(("-json=", "--json=")) for word in words)


def _output(name: str, value: str) -> str:
    """A step output, in the form in which no value can end early."""
    mark = f"tfguard_{secrets.token_hex(16)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def _print(line: str, to: int = 1) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        data = f"{line}\n".encode("utf-8", "replace")
        while data:
            data = data[os.write(to, data) :]
