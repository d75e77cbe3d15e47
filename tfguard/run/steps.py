"""
The steps of a pipeline that run under one lock: plan, apply of that very plan.
"""

from __future__ import annotations

from pathlib import Path

from tfguard.config.settings import var_file_arguments
from tfguard.errors import ConfigError
from tfguard.process.front import Front
from tfguard.report.messages import starting
from tfguard.report.reporter import Level
from tfguard.run.context import Context
from tfguard.run.expected import Expected, check
from tfguard.run.look import Footing
from tfguard.run.shown import run_on_page
from tfguard.run.terraform_command import child_arguments
from tfguard.terraform import command_line

_CHANGES = 2


def check_arguments(context: Context, step: str) -> None:
    """Refuse, before the lock, what would make Terraform work under another lock than ours, or under none."""
    words = (step, *context.settings.args.get(step, ()))
    found = command_line.parse(words, context.environ)
    if found.verdict == "lock":
        return
    source = "TF_CLI_ARGS" if command_line.parse(words, {}).verdict == "lock" else f"args.{step}"
    if found.verdict == "unlocked":
        first = f"{source} says -lock=false, but `run` holds one lock over all its steps."
    elif context.settings.lock.mode == "state":
        first = f"{source}: {found.reason}; `run` holds one lock over all its steps."
    else:
        return
    raise ConfigError(first, "Take it out, or run the steps one by one.", about=context.label())


class Steps:
    """The steps that run under the lock. With an `expected` plan, an apply is planned first, and is that plan's."""

    def __init__(self, front: Front, footing: Footing, plan_file: Path, expected: Expected | None = None) -> None:
        self._front = front
        self._context = footing.context
        self._footing = footing
        self._plan_file = plan_file
        self._expected = expected
        self._has_run = False

    def run(self, steps: list[str]) -> int:
        """Run them in their order, as long as there is a reason to; return the exit status of the last."""
        if "plan" not in steps and self._expected is None:
            return self._apply_unplanned()
        status = self._plan(is_last="apply" not in steps)
        if "apply" not in steps:
            return 0 if status == _CHANGES else status
        if self._expected is not None and status in (0, _CHANGES):
            self._footing.check()
            if not check(self._front, self._footing, self._plan_file, self._footing.environ, self._expected):
                return 1
        if status == 0:
            self._say("info", starting.nothing_to_apply(self._context.label()))
            return 0
        if status != _CHANGES:
            return status
        if not self._is_approved():
            self._say("warning", starting.not_approved(self._context.label()))
            return 0
        # The plan's own arguments are inside it: Terraform takes no variables beside a saved plan.
        return self._terraform(["apply", "-input=false", *self._extra("apply"), str(self._plan_file)])

    def _plan(self, *, is_last: bool) -> int:
        variables = var_file_arguments(self._context.settings, ("plan",))
        kept = [] if is_last and any(word.startswith("-out") for word in self._extra("plan")) else [self._out()]
        flags = ["-input=false", "-detailed-exitcode", *variables, *self._extra("plan"), *kept]
        return self._terraform(["plan", *flags], is_last=is_last)

    def _apply_unplanned(self) -> int:
        variables = var_file_arguments(self._context.settings, ("apply",))
        approval = ["-auto-approve", "-input=false"] if self._context.settings.approve == "auto" else []
        return self._terraform(["apply", *approval, *variables, *self._extra("apply")])

    def _out(self) -> str:
        return f"-out={self._plan_file}"

    def _extra(self, command: str) -> tuple[str, ...]:
        return self._context.settings.args.get(command, ())

    def _terraform(self, words: list[str], *, is_last: bool = True) -> int:
        if self._has_run:  # Before the first, that has just been done.
            self._footing.check()
        self._has_run = True
        invocation = command_line.parse(words, self._footing.environ)
        argv, environ = child_arguments(self._context, invocation, self._footing)
        # Else Terraform would advise applying by hand a plan that is about to be applied, and goes with us.
        environ = {"TF_IN_AUTOMATION": "1", **environ}
        return run_on_page(self._front, self._context, invocation, argv, environ, is_last=is_last)

    def _is_approved(self) -> bool:
        if self._context.settings.approve == "auto" or self._expected is not None:
            return True
        return self._front.ask(starting.approval_question(self._context.label())) == "yes"

    def _say(self, level: Level, text: str) -> None:
        self._context.report.say(level, "step.skipped", text, label=self._context.label())
