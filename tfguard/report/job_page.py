"""
What is gathered of a run for those who listen for its end, and what is shown meanwhile: marks around Terraform's text,
annotations.

Marks go to stdout, as Terraform's text does; annotations to stderr: stdout may be data.

What is gathered stands beside the run's record until it has been told: if the front is killed, `settle` tells it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tfguard.ci import identity
from tfguard.ci.commit import find_commit
from tfguard.ci.job_log import stream_for
from tfguard.ci.platforms import find_job, find_platform
from tfguard.jobfiles import own_file, run_record, story
from tfguard.jobfiles.story import PlanFiles, ReportFile, Story
from tfguard.jobfiles.transcript import Transcript
from tfguard.outlet import outlet
from tfguard.report import log, summary
from tfguard.report.annotations import annotation_lines, placed
from tfguard.report.changed import come_to
from tfguard.report.listener import Listener, find_listeners
from tfguard.report.run_ended import RunEnded
from tfguard.report.said import Said
from tfguard.terraform.fingerprint import Fingerprint
from tfguard.terraform.plan_json import read_changes
from tfguard.text import valid
from tfguard.wire import publish

_ANNOTATED = re.compile(
    r"run\.failed|run\.timed_out|lease\.(lost|taken_over)|plan\.stale|state\.\w+|settle\.(released|failed)"
)


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _harmless(otherwise: Callable[[], Any]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """
    Let nothing that fails in here change a run's end: it is a warning, and what is returned comes from `otherwise`.

    Also what nobody has thought of: a page shows what strangers have printed, with libraries of others.
    """

    def around(method: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(method)
        def guarded(*words: _P.args, **named: _P.kwargs) -> _R:
            try:
                return method(*words, **named)
            except Exception as error:  # noqa: BLE001 - of whatever kind
                reason = f"{type(error).__name__}: {error}"
                log.get_logger().warning("report.failed", during=method.__name__, error=reason)
                return cast("_R", otherwise())

        return guarded

    return around


def _in_memory() -> Transcript:
    """What takes Terraform's text where no file can."""
    return Transcript(io.BytesIO())


def _nothing() -> None:
    """What a page gives where it fails, and nothing is asked of it."""


class JobPage:
    """
    One run's page. Nothing here raises: what cannot be written is left out, and what fails is a warning.

    `record` is where the run's record is, or would be: what is gathered stands beside it from `begin` on.
    """

    def __init__(self, environ: Mapping[str, str], told: Story, record: Path, listeners: Sequence[Listener]) -> None:
        self.story = told
        self.record = record
        self.platform = find_platform(environ)
        self._environ = environ
        self._listeners = listeners
        self._transcript: Transcript | None = None
        self._said: Said | None = None
        self._is_fenced = False
        self._scratch = ""

    @classmethod
    @_harmless(_nothing)
    def of(cls, environ: Mapping[str, str], reports: Sequence[ReportFile] = ()) -> JobPage | None:
        """Return the page of a run that begins; None where nobody asked for one."""
        own_file.remember_job(environ)
        record = Path(run_record.new_path(environ))
        named = environ.get("TF_WORKSPACE", "")
        return cls._made(environ, Story(reports=tuple(reports), front=story.own_mark(), job_workspace=named), record)

    @classmethod
    @_harmless(_nothing)
    def of_killed(cls, environ: Mapping[str, str], record: Path, notes: Sequence[str] = ()) -> JobPage | None:
        """Return the page that a killed front has left beside a record, with more to note; None if it has been told."""
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
        listeners = find_listeners(environ, told.reports)
        return cls(environ, told, record, listeners) if listeners else None

    @_harmless(_in_memory)
    def begin(self, label: str, command: str = "", workspace: str = "", directory: str = "") -> Transcript:
        """
        Terraform is about to be started: give what keeps its text. From now on `settle` could tell the story.

        `command`: what is asked of it (`plan`, `state mv`); the one before if empty, as of what follows.
        `directory`: where Terraform works.
        """
        self._said = None
        if self._transcript is None:
            self._transcript = Transcript.create(self.record.with_suffix(run_record.TEXT_SUFFIX))
        self.story.label, self.story.command = label, command or self.story.command
        self.story.workspace = workspace or self.story.workspace
        self.story.directory = directory or self.story.directory
        self.story.save(self.record)
        return self._transcript

    @_harmless(_nothing)
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
        Put Terraform's text between marks, in which the platform obeys none of its lines, on the stream `to`; on stderr
        where stdout does not lead to the job's log.

        A command whose stdout is data (`-json`) is left alone.
        """
        close = self._open_fence(words, to) if not is_data(words) else None
        self._is_fenced = close is not None
        try:
            yield
        finally:
            self._is_fenced = False
            if close is not None:
                close()

    @_harmless(_nothing)
    def _open_fence(self, words: Sequence[str], to: int) -> Callable[[], None] | None:
        """Open it, and return what closes it; None where the platform has none."""
        if self.platform is None:
            return None
        token, to, platform = secrets.token_hex(16), stream_for(to), self.platform
        _print(platform.open_group(" ".join(["terraform", *words[:1]]), token), to)
        return _harmless(_nothing)(lambda: _print(platform.close_group(token), to))

    # --- what we say --------------------------------------------------------------------------------------------

    @_harmless(_nothing)
    def hear(self, level: str, event: str, text: str, facts: Mapping[str, Any]) -> None:
        """Note a message, harmless and without secrets, for the page; annotate with it if it is worth that."""
        if facts.get("holder"):
            self.story.holder = publish(facts["holder"], enc_hook=str).decode()
        if level != "info" and _ANNOTATED.fullmatch(event):
            self._annotate(level, text)

    @_harmless(_nothing)
    def note_signal(self, number: int) -> None:
        """Note what asked the run to stop; the first one counts."""
        self.story.stopped_by = self.story.stopped_by or number
        self._keep()

    def _annotate(self, level: str, text: str) -> None:
        self.story.notes.append(text)
        line = self.platform.annotation(level, text, len(self.story.notes)) if self.platform else ""
        if line and self._is_fenced:
            self.story.queued.append(line)
        elif line:
            _print(f"{line}\n", to=2)
        self._keep()

    def _keep(self) -> None:
        if self._transcript is not None:
            self.story.save(self.record)

    # --- the end ------------------------------------------------------------------------------------------------

    @_harmless(_nothing)
    def finish(self, ended: RunEnded) -> None:
        """Tell of a run that has ended to everybody who listens."""
        page = self._page(ended)
        # Only now: of stdout and stderr the runner may read either first, and inside the marks it would not obey.
        for line in (*self.story.queued, *self._diagnosed(page)):
            _print(f"{line}\n", to=2)
        self.story.queued.clear()
        self._show_diagnosed(page)
        for listener in self._listeners:
            try:
                listener.finish(page)
            except Exception as error:  # noqa: BLE001 - a server's, a library's: the run ends as it has ended
                log.get_logger().warning("report.failed", listener=type(listener).__name__, error=str(error))
        self.forget()

    @_harmless(str)
    def cure(self) -> str:
        """Return what helps against what Terraform has said, on one line; empty where nobody knows."""
        return self._read().cure

    def _read(self) -> Said:
        """What Terraform has said, now that it has ended."""
        if self._said is None:
            self._said = Said(self._transcript.read() if self._transcript is not None else "")
        return self._said

    @_harmless(tuple)
    def _diagnosed(self, page: summary.Page) -> Sequence[str]:
        """What annotates with Terraform's errors and warnings."""
        if self.platform is None:
            return ()
        found = Said.of(page.text).diagnostics
        return tuple(annotation_lines(self.platform, found, self.story.directory, len(self.story.notes)))

    @_harmless(_nothing)
    def _show_diagnosed(self, page: summary.Page) -> None:
        """Give the platform Terraform's errors and warnings for a report of its own, if Terraform has said anything."""
        if self.platform is not None and page.text:
            found = Said.of(page.text).diagnostics
            self.platform.show_diagnostics(tuple(placed(self.platform, found, self.story.directory)))

    def _page(self, ended: RunEnded) -> summary.Page:
        who = identity.identify(self._environ)
        said = self._read()
        return summary.Page(
            label=ended.label or self.story.label or summary.NOBODYS,
            outcome=ended.outcome.value,
            exit_code=ended.exit_code,
            command=self.story.command,
            workspace=self.story.workspace,
            job_workspace=self.story.job_workspace,
            commit=find_commit(self._environ),
            who=who.who,
            run=who.run,
            link=who.link,
            waited_seconds=ended.waited_seconds,
            held_seconds=ended.held_seconds,
            lock_id=ended.lock_id,
            force_unlock_id=ended.force_unlock_id,
            token=ended.token or None,
            changes=come_to(self.story.changes, said, is_plan=self.story.is_plan),
            text=said,
            notes=tuple(self.story.notes),
            holder=self.story.holder,
            files=self.story.files,
            fingerprint=self.story.fingerprint,
        )

    # --- plans --------------------------------------------------------------------------------------------------

    @_harmless(_nothing)
    def place_plan(self, given: str | None, own_folder: Callable[[], str], *, is_unattended: bool) -> PlanFiles | None:
        """
        Say where the plan goes: where the user said, else into a folder of the job's, else into one that goes with us,
        in the run's own.

        None where a person watches: Terraform would advise applying a file that is about to be deleted.
        """
        job = find_job(self._environ)
        try:
            if job is not None:
                folder = job.make_plan_folder()
            elif given or is_unattended:
                folder = self._scratch = tempfile.mkdtemp(prefix="page-", dir=own_folder())
            else:
                return None
        except OSError:
            return None
        plan, shown = given or os.path.join(folder, "tfplan"), os.path.join(folder, "tfplan.json")
        self.story.files = PlanFiles(plan=plan, shown=shown)
        return self.story.files

    @_harmless(_nothing)
    def take_changes(self, shown: bytes, *, status: int, is_refresh_only: bool) -> None:
        """Take what the plan will do, as `terraform show -json` has printed it; a platform may want to show it."""
        self.story.changes = changes = read_changes(shown, status=status, is_refresh_only=is_refresh_only)
        self._keep()
        if self.platform is not None and self.story.files is not None and changes is not None:
            folder = Path(self.story.files.shown).parent
            self.platform.show_changes(changes.add, changes.change, changes.destroy, folder)

    @_harmless(_nothing)
    def take_fingerprint(self, found: Fingerprint | None) -> None:
        """Take the fingerprint of the plan that has just been made, or is to be applied."""
        self.story.fingerprint = found
        self._keep()


def is_data(words: Sequence[str]) -> bool:
    """Whether a program reads what Terraform will print for these words."""
    return any(word in ("-json", "--json") or word.startswith(("-json=", "--json=")) for word in words)


def _print(text: str, to: int) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        outlet(to).say(valid(text).encode())
