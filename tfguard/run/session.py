"""
One call of tfguard that may run programs: a front, what it works on, and the way from a command line to a held lock.

    with guarded(call) as session:
        session.ensure_initialised()
        return session.run(session.task(invocation), body)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tfguard.backends.target import Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.process.front import Front
from tfguard.report.messages import phrases
from tfguard.report.narrator import Narrator
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.context import Context, find_target, make_context, named_target
from tfguard.run.initialise import ensure_initialised
from tfguard.run.runner import Body, Runner
from tfguard.run.task import Task, make_task
from tfguard.terraform.command_line import Invocation


class Session:
    """Made by `guarded`. The lock is not held yet: `run` takes it, and gives it back."""

    def __init__(self, front: Front, context: Context, narrator: Narrator) -> None:
        self.front = front
        self.context = context
        self._runner = Runner(front, context.report, narrator)

    def ensure_initialised(self) -> None:
        """Run `init` if the pipeline's directory needs it. Raises ConfigError, InitFailed."""
        ensure_initialised(self.front, self.context)

    def find_target(self, invocation: Invocation) -> Target:
        """
        Find the lock that this call is about: the one that it names, else the one for `invocation`.

        Raises:
            ConfigError: There is none, and why.
        """
        named = self.context.named
        if named is not None:
            return named_target(self.context, named)
        target = find_target(self.context, invocation)
        if isinstance(target, Unlockable):
            raise ConfigError(target.reason, about=self.context.label())
        return target

    def task(self, invocation: Invocation, target: Target | None = None, *, command: str = "") -> Task:
        """Describe a run under `target`, or under the lock that is found. `command` is what people see of it."""
        return make_task(self.context, target or self.find_target(invocation), invocation, command=command)

    def run(self, task: Task, body: Body) -> RunEnded:
        """Call `body` while the lock is held, as `Runner.run` does; return how it ended."""
        return self._runner.run(task, body)

    def run_unlocked(self, body: Callable[[], int], success_codes: frozenset[int]) -> RunEnded:
        """Call `body` without a lock of ours, as `Runner.run_unlocked` does; return how it ended."""
        subject = phrases.Subject(self.context.label(), command=self.context.options.again)
        return self._runner.run_unlocked(subject, body, success_codes)


@contextlib.contextmanager
def guarded(call: Call, context: Context | None = None) -> Iterator[Session]:
    """
    Start a front for this call, and resolve what it works on, unless that has been done.

    Raises:
        ConfigError, UsageError, ProgramNotFound, ProgramNotExecutable: As `make_context` does.
    """
    narrator = Narrator(call.report, phrases.Subject(call.name))
    # The front first: its keeper imports boto3 while we read the configuration.
    with contextlib.closing(Front(narrator.hear, call.environ)) as front:
        yield Session(front, context or make_context(call), narrator)
