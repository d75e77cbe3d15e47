"""
A run, from the lock to the report: acquire, run programs under it, release, say how it ended.

The runner knows runs, never backends. What the lock is, `terraform.locate` finds out; how it is held, the keeper knows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tfguard import errors
from tfguard.ci import platform
from tfguard.clock import SystemClock, parse_created
from tfguard.errors import NAMED, LeaseLost, LockBusy, Outcome, RunTimeout, TfguardError
from tfguard.guard import messages
from tfguard.lock import protocol, refusals
from tfguard.lock.lockinfo import new_lock_id
from tfguard.lock.names import UNSAVED_STATE
from tfguard.process.front import Front, Refused
from tfguard.process.launch import without_tracking
from tfguard.process.relatives import nest_around
from tfguard.report.messages import phrases, running, starting, states, waiting
from tfguard.report.narrator import Narrator, holder_facts
from tfguard.report.reporter import Reporter
from tfguard.report.run_ended import RunEnded
from tfguard.run import child_backend
from tfguard.run.exit_status import shell_status, signal_to_die_of
from tfguard.run.look import Footing, Look, NoCopy, private_folder
from tfguard.run.missing_workspace import create_workspace
from tfguard.run.refused import as_error
from tfguard.run.task import Task
from tfguard.terraform.plan_file import read_planned_at
from tfguard.wire import pack

#: Credentials that end sooner than this may end before an unlimited run does.
SHORT_CREDENTIALS_SECONDS = 15 * 60.0
#: How often a workspace is created that is not found afterwards: once, and again should somebody have deleted it.
_WORKSPACE_ROUNDS = 2
#: What Terraform and OpenTofu print of a saved plan whose state has moved since.
_STALE = "Saved plan is stale"


#: What is done while the lock is held. It gets what its programs stand on, and returns their exit status.
Body = Callable[[Footing], int]

#: How often a run starts over, at most, because another state than the locked one would be written.
_ROUNDS = 5


class Ending(NamedTuple):
    """How it ended, as `RunEnded` has it, before the lock was given back."""

    outcome: Outcome
    exit_code: int
    signal: int = 0


_LOST = Ending(Outcome.LOCK_LOST, LeaseLost.exit_code)


class Runner:
    """One run under one lock."""

    def __init__(self, front: Front, report: Reporter, narrator: Narrator) -> None:
        self.front = front
        self.report = report
        self._narrator = narrator
        self._clock = SystemClock()
        self._started_at = self._waited_before = 0.0
        self._asked_at: float | None = None
        self._folder = self._push_data = ""

    def has_waited(self, seconds: float) -> None:
        """Count what has been waited for somebody else's lock already, before a run."""
        self._waited_before += seconds

    def run(self, task: Task, body: Body, again: Callable[[], Task]) -> RunEnded:
        """
        Take the lock, look again at what decides which state will be written, call `body`, release, report.

        Where something has changed while we waited, the lock is given back, and the run starts over with what `again`
        describes and what is left of the time for waiting.

        Return how it ended: with Terraform's exit status, or with ours by precedence (lost, timed out, interrupted).
        What kept the run from starting, or broke it off, is said here, and is an ending too; it is not raised.
        """
        self._started_at = self._clock.boottime() - self._waited_before
        self._folder = private_folder(self.front)
        return self._run_in_rounds(task, body, again)

    def _run_in_rounds(self, task: Task, body: Body, again: Callable[[], Task]) -> RunEnded:
        for count in range(1, _ROUNDS + 1):
            self._begin(task)
            try:
                self._refuse_errored(task)
                held = self._acquire(task)
            except TfguardError as error:
                if isinstance(error, errors.Interrupted):
                    error.was_waiting = True
                return self._finish(task, self._say_failure(task, error), self._waited_seconds())
            try:
                look, changed = self._look_again(task)
                if changed and count == _ROUNDS:
                    raise errors.ConfigError(starting.always_changing(task.subject.label, changed), about=NAMED)
            except TfguardError as error:
                return self._release(task, held, self._say_failure(task, error))
            if look is not None and not changed:
                return self._run_held(task, held, look, body)
            ended = self._give_back(task, held, changed)
            if ended is not None:
                return ended
            try:
                self.front.start_over()
                self._waited_before = self._waited_seconds()
                task = again()
            except TfguardError as error:
                return self._finish(task, self._say_failure(task, error), self._waited_seconds())
        raise AssertionError("the last round ends the run")

    def _look_again(self, task: Task) -> tuple[Look | None, str]:
        """Look under the lock. Return what was found, and what is not as it was before the wait. Raises NoCopy."""
        try:
            look = task.look_again(self._folder)
        except NoCopy:
            raise
        except errors.ConfigError:
            return None, "the directory cannot be used as it is now"  # Starting over says why, or initialises it.
        return look, task.look.difference(look)

    def _begin(self, task: Task) -> None:
        self._narrator.subject = task.subject
        self._narrator.is_interactive = self.front.is_interactive
        self._narrator.run_timeout_seconds = task.terms.run_timeout_seconds or 0.0
        self._tell_terms(task)
        if self.report.page is not None:
            workspace, directory = task.look.target.workspace, task.look.context.work_directory
            self.report.page.begin(task.subject.label, task.holder.command, workspace, directory)

    def _waited_seconds(self) -> float:
        return self._clock.boottime() - self._started_at

    def _asked_seconds(self) -> float:
        return self._clock.boottime() - self._asked_at if self._asked_at is not None else 0.0

    def _give_back(self, task: Task, held: protocol.Held, changed: str) -> RunEnded | None:
        """Release a lock under which another state would be written. Return how the run ended, if that is its end."""
        if self._is_over():
            return self._release(task, held, self._judge(1, frozenset()))
        text = starting.starting_over(task.subject.label, changed)
        self.report.say("warning", "target.changed", text, label=task.subject.label, reason=changed)
        released = self.front.release(Outcome.CONFIG_ERROR.value, None)
        self._tell_unreleased(task, held, released)
        if self._is_over():  # Stopped meanwhile; the keeper may be releasing still.
            return self._finish(task, self._judge(1, frozenset()), self._waited_seconds(), held, released)
        return None

    def _is_over(self) -> bool:
        """Whether nothing may be started any more."""
        return self.front.lost is not None or self.front.stopped_by is not None

    def _run_held(self, task: Task, held: protocol.Held, look: Look, body: Body) -> RunEnded:
        try:
            status = self._run_body(task, held, look, body)
            ending = self._judge(status, task.success_codes)
            if ending.outcome is Outcome.PLAN_STALE:
                self._tell_of_stale(task, held, look)
            if ending.outcome is Outcome.SUCCEEDED and task.pushed_file:
                with contextlib.suppress(OSError):
                    os.replace(task.pushed_file, f"{task.pushed_file}.pushed-{held.lock_id}")
        except TfguardError as error:
            ending = self._say_failure(task, error)
        return self._release(task, held, ending)

    def run_unlocked(
        self, subject: phrases.Subject, body: Callable[[], int], success_codes: frozenset[int]
    ) -> RunEnded:
        """
        Call `body` without a lock of ours, and report: for what Terraform itself locks, or nobody needs to.

        Return how it ended as `run` does. Raises what kept a program from starting.
        """
        self._narrator.subject = subject
        try:
            ending = self._judge(body(), success_codes)
        except Refused as failed:
            raise as_error(subject, failed.answer, self._clock.now()) from failed
        ended = RunEnded(label=subject.label, **ending._asdict())
        self.report.finish(ended)
        return ended

    def _run_body(self, task: Task, held: protocol.Held, look: Look, body: Body) -> int:
        try:
            environ = self._child_environ(task, held)
            footing = Footing(held, environ, look, lambda: task.look_again(""), self._folder)
            child_backend.prepare_push(look, held.lock_id, self._push_data)
            with child_backend.cleared(look, held):
                status = body(footing)
            self._tell_of_other_backend(task, footing)
            return status
        except Refused as failed:  # A program could not be started.
            raise as_error(task.subject, failed.answer, self._clock.now(), is_plan=task.is_plan) from failed

    def _tell_of_other_backend(self, task: Task, footing: Footing) -> None:
        with contextlib.suppress(errors.ConfigError):
            if footing.has_other_backend:
                text = starting.initialised_meanwhile(task.subject.label)
                self.report.say("warning", "target.changed", text, label=task.subject.label)

    def _tell_terms(self, task: Task) -> None:
        self.report.detail(
            "run.started",
            label=task.subject.label,
            lock=task.target.path,
            backend=task.target.backend,
            workspace=task.target.workspace or None,
            operation=task.operation,
            binary=task.terraform[0] if task.terraform else None,
            directory=task.directory,
            lease_s=task.terms.lease_seconds,
            timeout_s=task.terms.timeout_seconds,
        )

    def _say_failure(self, task: Task, error: TfguardError) -> Ending:
        """Say why the run ends, before the line that ends it."""
        facts = holder_facts(error.record) if isinstance(error, LockBusy) else {}
        self.report.fail(error, task.subject, **facts)
        return Ending(error.outcome, error.exit_code, error.signal_number)

    @staticmethod
    def _refuse_errored(task: Task) -> None:
        """A state that a former run could not save must not be run over. Raises ConfigError."""
        path = os.path.join(task.state_directory, UNSAVED_STATE)
        if task.state_directory and not task.ignores_errored and os.path.exists(path):
            raise errors.ConfigError(states.is_here(task.subject, path), about=NAMED)

    # --- acquiring ----------------------------------------------------------------------------------------------

    def _acquire(self, task: Task) -> protocol.Held:
        if self._asked_at is None:  # What else came before was no waiting.
            self._asked_at = self._clock.boottime() - self._waited_before
        request, created = self._with_time_left(self._request(task)), 0
        while True:
            try:
                held = self.front.acquire(request)
            except Refused as failed:
                if isinstance(failed.answer.why, refusals.NoWorkspace):
                    created += 1
                    if created > _WORKSPACE_ROUNDS:
                        text = starting.workspace_not_found(task.subject.label, task.target.workspace)
                        raise errors.ConfigError(text, about=NAMED) from failed
                request = self._after_failure(task, request, failed.answer)
            else:
                self._tell_of(task, request, held)
                return held

    def _with_time_left(self, request: messages.Acquire) -> messages.Acquire:
        """However often it has to be asked for, the lock is waited for no longer than is allowed once."""
        left = max(0.0, request.terms.timeout_seconds - self._asked_seconds())
        terms = msgspec.structs.replace(request.terms, timeout_seconds=left)
        return msgspec.structs.replace(request, lock=msgspec.structs.replace(request.lock, terms=terms))

    def _request(self, task: Task) -> messages.Acquire:
        return messages.Acquire(
            lock=protocol.LockRequest(
                terms=task.terms,
                holder=task.holder,
                operation=task.operation,
                info=task.info,
                who=task.holder.who,
                version=task.version,
                path=task.target.path,
                is_changing=task.is_changing,
                nested_id=task.environ.get("TFGUARD_LOCK_ID", ""),
                nest=nest_around(task.environ),
                ticket=new_lock_id(),
                ignores_errored=task.ignores_errored,
                wants_history=bool(task.plan_file),
            ),
            target=task.target,
            environ=dict(task.environ),
            rescue=self._rescue(task),
            record=pack(task.record).decode() if task.record else "",
            record_path=task.record_path,
        )

    def _rescue(self, task: Task) -> messages.Rescue | None:
        if not task.state_directory:
            return None
        environ = {name: value for name, value in task.environ.items() if not name.startswith("TF_CLI_ARGS")}
        argv = list(task.push_argv)
        if task.target.backend != "named":
            environ["TF_WORKSPACE"] = task.target.workspace
            try:
                # By the time of a push the directory may have been initialised for another backend.
                environ["TF_DATA_DIR"] = self._push_data = task.look.copy_data(self._folder)
            except OSError:
                argv = []  # Rather kept than pushed to another state.
        return messages.Rescue(
            directory=task.state_directory,
            current=task.directory,
            argv=argv,
            environ=without_tracking(environ),
        )

    def _after_failure(self, task: Task, request: messages.Acquire, answer: protocol.Failed) -> messages.Acquire:
        """Return the request to try again with, or raise what a person must hear."""
        match answer.why:
            case refusals.NoWorkspace():
                create_workspace(
                    self.front, self.report, task, lambda: task.terms.timeout_seconds - self._asked_seconds()
                )
                return self._with_time_left(request)
            case refusals.TakeoverRefused(record=record):
                text = waiting.takeover_refused(task.subject, record, self._clock.now())
                if self.front.ask(waiting.takeover_question(text)) != "yes":
                    raise errors.TakeoverRefused(text, about=NAMED, record=record)
                # From the answer on: nobody is asked for a while, and then has no time left.
                terms = msgspec.structs.replace(task.terms, takeover="always")
                return msgspec.structs.replace(request, lock=msgspec.structs.replace(request.lock, terms=terms))
        raise as_error(task.subject, answer, self._clock.now(), is_plan=task.is_plan)

    def _tell_of(self, task: Task, request: messages.Acquire, held: protocol.Held) -> None:
        label = task.subject.label
        if request.lock.nested_id and not held.is_nested:
            self.report.say("warning", "lease.nested_ignored", waiting.nested_ignored(label), label=label)
        if held.dead is not None:
            text = waiting.took_over(task.subject, held.dead, self._clock.now())
            self.report.say("warning", "lease.taken_over", text, label=label, **holder_facts(held.dead))
        expire_at = parse_created(held.credentials_expire_at)
        if expire_at is not None:
            left = (expire_at - self._clock.now()).total_seconds()
            if left < (task.terms.run_timeout_seconds or SHORT_CREDENTIALS_SECONDS):
                text = waiting.credentials_expire(label, expire_at)
                self.report.say("warning", "credentials.expiring", text, label=label)
        self.report.say(
            "info",
            "lease.acquired",
            waiting.acquired(task.subject, held.handle, waited_seconds=held.waited_seconds, is_nested=held.is_nested),
            label=label,
            lock=task.target.path,
            lock_id=held.lock_id,
            token=held.token,
            waited_s=round(held.waited_seconds, 1),
        )

    def _tell_of_stale(self, task: Task, held: protocol.Held, look: Look) -> None:
        """Say who ran since the plan was made that Terraform has refused."""
        plan = look.copy or task.plan_file
        planned_at = read_planned_at(Path(plan)) if plan else None
        text = states.stale(task.subject, planned_at, held.runs, self._clock.now())
        self.report.say("error", "plan.stale", text, label=task.subject.label)

    @staticmethod
    def _child_environ(task: Task, held: protocol.Held) -> dict[str, str]:
        environ = platform.without_page(task.environ)
        environ["TFGUARD_LOCK_ID"] = held.lock_id
        environ.pop("TFGUARD_FENCING_TOKEN", None)
        if held.token:
            environ["TFGUARD_FENCING_TOKEN"] = str(held.token)
        return environ

    # --- the end ------------------------------------------------------------------------------------------------

    def _judge(self, status: int, success_codes: frozenset[int]) -> Ending:
        """Find how it ended, by precedence: lost > timed out > asked to stop > Terraform's own status."""
        front = self.front
        if front.lost is not None:
            return _LOST
        if front.is_timed_out:
            return Ending(Outcome.RUN_TIMEOUT, RunTimeout.exit_code)
        if front.stopped_by is not None and status != 0:
            number = front.stopped_by.number
            return Ending(Outcome.INTERRUPTED, 128 + number, number)
        code, signal_number = shell_status(status), signal_to_die_of(status)
        if code == 1 and _STALE in front.last_words:
            return Ending(Outcome.PLAN_STALE, code)
        return Ending(Outcome.SUCCEEDED if code in success_codes else Outcome.FAILED, code, signal_number)

    def _release(self, task: Task, held: protocol.Held, ending: Ending) -> RunEnded:
        """
        Release, report, and return how it ended.

        A loss outranks every other end, and may have become known only since Terraform's, or by the release itself.
        """
        released = self.front.release(ending.outcome.value, ending.exit_code)
        self.front.close()
        self._tell_unreleased(task, held, released)
        if released.result in ("gone", "another's") and self.front.lost is None:
            text = running.lost_unnoticed(task.subject, released.result)
            self.report.say("error", "lease.lost", text, label=task.subject.label, reason=released.result)
        if self.front.lost is not None or released.result in ("gone", "another's"):
            ending = _LOST  # Whatever was known when Terraform ended: another may have been in before we were out.
        return self._finish(task, ending, self._waited_before + held.waited_seconds, held, released)

    def _tell_unreleased(self, task: Task, held: protocol.Held, released: protocol.Released) -> None:
        is_given_up = task.subject.is_local and self.front.lost is not None  # To the sentinel: that has been said.
        if released.result == "failed" and not is_given_up:
            lease = None if task.subject.is_local else task.terms.lease_seconds
            text = running.release_failed(task.subject, released.error, held.lock_id, lease)
            self.report.say("warning", "release.failed", text, label=task.subject.label, error=released.error)

    def _finish(
        self,
        task: Task,
        ending: Ending,
        waited_seconds: float,
        held: protocol.Held | None = None,
        released: protocol.Released | None = None,
    ) -> RunEnded:
        ended = RunEnded(
            label=task.subject.label,
            **ending._asdict(),
            lock=task.target.path,
            lock_id=held.lock_id if held else "",
            force_unlock_id=held.force_unlock_id if held else "",
            token=held.token if held else 0,
            waited_seconds=round(waited_seconds, 1),
            held_seconds=round(released.held_seconds, 1) if released else 0.0,
            heartbeats=released.heartbeats if released else 0,
            release=("nested" if held.is_nested else released.result) if held and released else "",
        )
        self.report.finish(ended)
        self.front.close()
        return ended
