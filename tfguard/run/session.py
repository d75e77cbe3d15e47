"""
One call of tfguard that may run programs: a front, what it works on, and the way from a command line to a held lock.

    with guarded(call) as session:
        session.ensure_initialised()
        return session.run(lambda: session.task(invocation), body)
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from tfguard.backends.target import Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.process.front import Front
from tfguard.report.messages import phrases
from tfguard.report.narrator import Narrator
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.context import Context, make_context, named_target
from tfguard.run.initialise import ensure_initialised, initialise, pinned
from tfguard.run.look import Look, take_look
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
        """Run `init` if the pipeline's directory needs it. Raises ConfigError, InitFailed, LockBusy."""
        self._runner.has_waited(ensure_initialised(self.front, self.context))

    def initialise(self) -> None:
        """Run `init`, as a step of the pipeline's. Raises InitFailed, LockBusy."""
        self._runner.has_waited(initialise(self.front, self.context, pinned(self.context), stdout=1))

    def find_target(self, invocation: Invocation) -> Target:
        """
        Find the lock that this call is about: the one that it names, else the one for `invocation`.

        Raises:
            ConfigError: There is none, and why.
        """
        return self._look(invocation, "").target

    def task(self, invocation: Invocation, *, command: str = "", is_plan: bool = False) -> Task:
        """
        Describe a run under the lock that is found now.

        `command` is what people see of it; `is_plan`: it only plans, whatever the invocation.
        """
        look_again = functools.partial(self._look, invocation)
        return make_task(look_again(""), invocation, look_again, command=command, is_plan=is_plan)

    def _look(self, invocation: Invocation, folder: str) -> Look:
        named = self.context.named
        if named is not None:
            return Look(named_target(self.context, named), self.context)
        found = take_look(self.context, invocation, folder)
        if isinstance(found, Unlockable):
            is_new = "Nothing was run. If that has changed while we waited, run it again." if found.is_told else ""
            raise ConfigError(found.reason, *filter(None, [is_new]), about=self.context.label())
        return found

    def run(self, describe: Callable[[], Task], body: Body) -> RunEnded:
        """
        Call `body` while the lock is held, as `Runner.run` does; return how it ended.

        `describe` makes the task: at once, and again where the directory has changed while we waited.
        """

        def again() -> Task:
            self.ensure_initialised()
            return describe()

        return self._runner.run(describe(), body, again)

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
        call.report.last_words = lambda: front.last_words
        yield Session(front, context or make_context(call), narrator)
