"""
A killed run brought to its end: waited for while anything of it lives, its lock released, its page told.

It is told by the same `RunEnded` as a run that ended by itself.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tfguard import errors, files, redaction
from tfguard.backends.environ import extend_environment
from tfguard.backends.target import Target
from tfguard.clock import SystemClock, created, is_gone
from tfguard.config.options import Options
from tfguard.git import is_tracked
from tfguard.jobfiles import own_file, run_record, story
from tfguard.jobfiles.run_record import RunRecord
from tfguard.lock.opened_lock import Changed, OpenedLock, Seen, is_silent, opened, without_repetitions
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder, LockRecord
from tfguard.process.program import kin_of
from tfguard.process.relatives import is_any_left
from tfguard.report.job_page import JobPage
from tfguard.report.messages import operating, phrases
from tfguard.report.reporter import Level, Reporter
from tfguard.report.run_ended import RunEnded
from tfguard.run import context
from tfguard.run.call import Call
from tfguard.terraform import command_line, data_overlay
from tfguard.terraform.locate import resolve_target
from tfguard.terraform.workdir import WorkingDirectory

#: What a shell gives as the status of a process that was killed.
KILLED = 137
#: Between two looks at the processes of a run, in seconds.
LOOK_SECONDS = 0.25
#: Between two tries at a store that does not answer, in seconds.
RETRY_SECONDS = 2.0


class Settling:
    """One run's record, until it is settled."""

    def __init__(self, path: Path, environ: Mapping[str, str], report: Reporter, until: float) -> None:
        self._path = path
        self.subject = phrases.Subject("tfguard")
        self._environ = environ
        self._report = report
        self._until = until
        self._clock = SystemClock()
        self._has_said: set[str] = set()
        self._notes: list[str] = []

    def run(self) -> None:
        """Raises LockBusy, or what the store raises."""
        while True:
            record = run_record.read(self._path)
            if record is None:
                return  # Another settle was quicker.
            self.subject = _subject(record)
            if record.release or self._try_settle(record):
                self._finish(record)
                return

    def _try_settle(self, record: RunRecord) -> bool:
        """Take one step; return whether the lock is free of this run."""
        if record.is_here and (record.is_running or _is_family_left(record)):
            self._wait_for_run(record)
            return False
        if record.target.is_local:
            return record.is_here or self._wait_for_kernel(record)
        try:
            with opened(self._target(record)) as lock:
                return self._release(record, lock)
        except errors.StoreUnavailable:
            if time.monotonic() >= self._until:
                raise
            time.sleep(RETRY_SECONDS)
            return False

    def _wait_for_run(self, record: RunRecord) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise self._too_late(record, self._look(record), "its run still goes on")
        self._say_once("info", "settle.waiting", operating.settling(self.subject, seconds=left))
        time.sleep(min(left, LOOK_SECONDS))

    def _wait_for_kernel(self, record: RunRecord) -> bool:
        with opened(record.target) as lock:
            held = [seen.record for seen in lock.read() if seen.record.id == record.lock_id]
        if held and time.monotonic() >= self._until:
            raise self._too_late(record, held[0], "its run still goes on, in another container")
        time.sleep(LOOK_SECONDS if held else 0)
        return not held

    def _release(self, record: RunRecord, lock: OpenedLock) -> bool:
        shown = [seen for seen in lock.read() if seen.record.id == record.lock_id]
        if not shown:
            return True
        # What has no room for a lease lives and dies with its guard, which has one.
        for seen in without_repetitions(shown):
            if seen.record.lease is None or seen.record.lease.hold_until:
                raise self._too_late(record, seen.record, "that lock carries no lease of a run")
        try:
            if not _is_seen_dead(record, shown) and not self._is_silent(record, lock, shown):
                return False
            lock.remove(shown)
        except Changed:
            return False
        self._report_release(record, lock, shown[0].record)
        return True

    def _is_silent(self, record: RunRecord, lock: OpenedLock, shown: list[Seen]) -> bool:
        """Watch one lease, or as much of it as there is time for. Raises LockBusy when time is up."""
        seconds = max(record.lease_seconds, *(_lease_seconds(seen.record) for seen in shown))
        left = max(0.0, self._until - time.monotonic())
        self._say_once("info", "settle.waiting", operating.watching_remains(self.subject, seconds=seconds))
        if is_silent(lock, shown, self._clock, for_seconds=seconds, patience_seconds=left):
            return True
        if time.monotonic() >= self._until:
            raise self._too_late(record, shown[0].record, "its lease had not run out in time")
        return False

    def _too_late(self, record: RunRecord, held: LockRecord | None, why: str) -> errors.LockBusy:
        now = self._clock.now()
        text = operating.not_settled(self.subject, held, record.lock_id, now, why=why)
        return errors.LockBusy(text, about=errors.NAMED, record=held)

    def _look(self, record: RunRecord) -> LockRecord | None:
        with contextlib.suppress(errors.TfguardError), opened(self._target(record)) as lock:
            return next((seen.record for seen in lock.read()), None)
        return None

    def _report_release(self, record: RunRecord, lock: OpenedLock, held: LockRecord) -> None:
        run = Run(
            holder=held.lease.holder if held.lease else Holder(who=record.who, command=record.command),
            ended_at=created(self._clock.now()),
            token=record.token,
            outcome=record.outcome or errors.Outcome.ORPHANED.value,
            exit_code=record.exit_code,
            lock_id=record.lock_id,
            unlocked_by="settle",
            reason="its processes were gone",
        )
        lock.add_run(run)
        is_changing = held.lease is None or held.lease.is_changing
        text = operating.settled_by_release(self.subject, is_changing=is_changing)
        self._has_said.add("settle.released")
        self._notes.append(text)
        self._report.say("warning", "settle.released", text, lock=self.subject.label, lock_id=record.lock_id)

    def _finish(self, record: RunRecord) -> None:
        if "settle.released" not in self._has_said:
            text = operating.settled(
                self.subject, outcome=record.outcome, exit_code=record.exit_code, held_seconds=record.held_s
            )
            self._notes.append(text)
            self._report.say("info", "settle.finished", text, lock=self.subject.label, outcome=record.outcome)
        self._tell(record)
        with contextlib.suppress(errors.TfguardError):
            environ = {**self._environ, **record.choosers}
            data_overlay.unlink(WorkingDirectory.at(Path(record.directory), None, environ), record.lock_id)
        run_record.remove(self._path)

    def _tell(self, record: RunRecord) -> None:
        """Tell the job's page, and the run's reports, what a killed front did not: one that lived has told it."""
        page = JobPage.of_killed(self._environ, self._path, self._notes)
        if page is None:
            return
        redaction.register_secrets(self._target(record).secrets())  # What was printed is kept as it was.
        ended = RunEnded(
            label=record.label,
            outcome=_outcome(record),
            exit_code=_status_of_killed(page) if record.exit_code is None else record.exit_code,
            signal=page.story.stopped_by,
            lock=record.target.path,
            lock_id=record.lock_id,
            force_unlock_id=record.force_unlock_id,
            token=record.token,
            waited_seconds=record.waited_s,
            held_seconds=record.held_s or None,
        )
        page.finish(ended)

    def _say_once(self, level: Level, event: str, text: str) -> None:
        if event not in self._has_said:
            self._has_said.add(event)
            self._report.say(level, event, text, lock=self.subject.label)

    # --- credentials --------------------------------------------------------------------------------------------

    def _target(self, record: RunRecord) -> Target:
        """The record's target, with what a file must not hold taken from the directory and the environment again."""
        environ = {**self._environ, **record.choosers}
        found = None
        with contextlib.suppress(errors.TfguardError):
            if record.pipeline:
                options = Options(pipeline=record.pipeline, config=record.config or None)
                made = context.make_context(Call(options, environ, self._report))
                extend_environment(made.environ)
                found = context.find_target(made, command_line.parse(("apply",), {}))
            elif record.is_stripped:
                workdir = WorkingDirectory.at(Path(record.directory), None, environ)
                found = resolve_target(workdir, command_line.parse(("apply",), {}), environ)
        if not isinstance(found, Target) or found.path != record.target.path:
            return record.target
        return msgspec.structs.replace(record.target, stores=found.stores)


def _subject(record: RunRecord) -> phrases.Subject:
    """What messages about it are about. The store of a lock of the user's own name may hold a secret: none is noted."""
    target = record.target
    named = f"--name {shlex.quote(phrases.word(target.path))} --store …" if target.backend == "named" else ""
    return phrases.Subject(record.label, command=record.again, is_local=target.is_local, lock_options=named)


def _is_seen_dead(record: RunRecord, shown: list[Seen]) -> bool:
    """Whether the lock itself says that its last heartbeat came from a process of this very machine, which is gone."""
    leases = [seen.record.lease for seen in shown if not seen.is_guarded]
    return (
        record.is_here
        and bool(leases)
        and all(lease and lease.boot == record.boot and is_gone(lease.sender) for lease in leases)
    )


def _is_family_left(record: RunRecord) -> bool:
    """Whether anybody has outlived the run's program who may write."""
    kin = kin_of(record.family)
    return kin is not None and is_any_left(kin)


def _lease_seconds(record: LockRecord) -> float:
    return record.lease.seconds if record.lease else 0.0


def tell_of_unlocked(folder: Path, environ: Mapping[str, str], report: Reporter) -> int:
    """Tell of killed runs that held no lock, which have no record: nothing is to be released. Return how many."""
    count = 0
    for path in files.inside(folder, run_record.STORY_SUFFIX):
        told = story.read(path)
        is_over = told is not None and (told.front is None or not told.front.is_alive())
        if (
            told is None
            or not is_over
            or _is_of_the_checkout(path)
            or run_record.read(path.with_suffix(".json")) is not None
        ):
            continue
        text = operating.killed_without_lock(told.label)
        report.say("info", "settle.finished", text, label=told.label)
        page = JobPage.of_killed(environ, path, [text])
        if page is not None:
            outcome = errors.Outcome.INTERRUPTED if told.stopped_by else errors.Outcome.ORPHANED
            code, number = _status_of_killed(page), told.stopped_by
            page.finish(RunEnded(label=told.label, outcome=outcome, exit_code=code, signal=number))
        run_record.forget_story(path)
        count += 1
    return count


def _outcome(record: RunRecord) -> errors.Outcome:
    known = {outcome.value: outcome for outcome in errors.Outcome}
    return known.get(record.outcome, errors.Outcome.ORPHANED)


def _is_of_the_checkout(path: Path) -> bool:
    """Whether git keeps this file: with a umask of 077 it makes what looks private."""
    return not own_file.is_sealed() and is_tracked(str(path.parent), path.name)


def _status_of_killed(page: JobPage) -> int:
    """With which status a front would have ended that was killed: asked to stop before, or not."""
    return 128 + page.story.stopped_by if page.story.stopped_by else KILLED
