"""
`tfguard run PIPELINE`: the pipeline's steps, plan and apply of that very plan under one lock.

`init` comes before the lock: only an initialised directory knows which lock it is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tfguard.backends.target import Unlockable
from tfguard.commands.terraform import child_arguments
from tfguard.config.options import Options
from tfguard.config.settings import var_file_arguments
from tfguard.errors import ConfigError, Outcome, UsageError
from tfguard.lock import protocol
from tfguard.process.front import Front
from tfguard.report import log
from tfguard.report.messages import phrases, starting
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter
from tfguard.run.context import Context, find_target, make_context
from tfguard.run.initialise import ensure_initialised, initialise, pinned
from tfguard.run.runner import Runner
from tfguard.run.shown import run_on_page
from tfguard.run.task import make_task
from tfguard.terraform import command_line

_CHANGES = 2


def run_pipeline(options: Options, environ: Mapping[str, str], report: Reporter) -> int:
    """
    Run the steps of a pipeline; gives the exit status of the first that failed, else 0.

    Raises:
        TfguardError: Nothing was run, and why; InitFailed with Terraform's status.
    """
    if not options.pipeline:
        raise UsageError("run needs a pipeline of tfguard.yml.\nFor example: tfguard run prod/network")
    narrator = Narrator(report, phrases.Subject(options.pipeline))
    with contextlib.closing(Front(narrator.hear, environ)) as front:
        context = make_context(options, environ, report)
        _check_approval(front, context)
        if "init" in context.settings.steps:
            initialise(front, context, pinned(context), stdout=1)
        else:
            ensure_initialised(front, context)
        if {"plan", "apply"} & set(context.settings.steps):
            return _guard(front, narrator, context)
        if report.page is not None:
            report.finish(label=context.label(), outcome=Outcome.SUCCEEDED.value, exit_code=0)
        return 0


def _check_approval(front: Front, context: Context) -> None:
    found = context.settings
    if "apply" in found.steps and found.approve == "prompt" and not front.is_interactive:
        raise ConfigError(
            f"{context.label()}: approve is prompt, and there is no terminal to ask on; nothing was locked.\n"
            f"Set approve: auto in tfguard.yml, or plan only: {context.options.again} plan"
        )


def _guard(front: Front, narrator: Narrator, context: Context) -> int:
    steps: list[str] = [step for step in context.settings.steps if step != "init"]
    for step in steps:
        _check_arguments(context, step)
    invocation = command_line.parse(("apply",) if "apply" in steps else ("plan",), context.environ)
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        raise ConfigError(phrases.about(context.label(), target.reason))
    task = replace(make_task(context, target, invocation), is_plan="apply" not in steps)

    def body(held: protocol.Held, environ: dict[str, str]) -> int:
        log.warm_up()
        with _plan_file() as path:
            return _Steps(front, context, held, environ, path).run(steps)

    return Runner(front, context.report, narrator).run(task, body)


def _check_arguments(context: Context, step: str) -> None:
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
    raise ConfigError(phrases.about(context.label(), f"{first}\nTake it out, or run the steps one by one."))


@contextlib.contextmanager
def _plan_file() -> Iterator[Path]:
    """A place for the plan in a folder that only we can enter: a plan holds secrets in clear."""
    with tempfile.TemporaryDirectory(prefix="tfguard-") as folder:
        yield Path(folder, "tfplan")


class _Steps:
    """The steps that run under the lock."""

    def __init__(
        self, front: Front, context: Context, held: protocol.Held, environ: dict[str, str], plan_file: Path
    ) -> None:
        self._front = front
        self._context = context
        self._held = held
        self._environ = environ
        self._plan_file = plan_file

    def run(self, steps: list[str]) -> int:
        if "plan" not in steps:
            return self._apply_unplanned()
        status = self._plan(is_last="apply" not in steps)
        if "apply" not in steps:
            return 0 if status == _CHANGES else status
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
        return self._terraform(["plan", *flags])

    def _apply_unplanned(self) -> int:
        variables = var_file_arguments(self._context.settings, ("apply",))
        approval = ["-auto-approve", "-input=false"] if self._context.settings.approve == "auto" else []
        return self._terraform(["apply", *approval, *variables, *self._extra("apply")])

    def _out(self) -> str:
        return f"-out={self._plan_file}"

    def _extra(self, command: str) -> tuple[str, ...]:
        return self._context.settings.args.get(command, ())

    def _terraform(self, words: list[str]) -> int:
        invocation = command_line.parse(words, self._environ)
        argv, environ = child_arguments(self._context, invocation, self._held, self._environ)
        return run_on_page(self._front, self._context, invocation, argv, environ)

    def _is_approved(self) -> bool:
        if self._context.settings.approve == "auto":
            return True
        question = f"\n{self._context.label()}: apply this plan? Only 'yes' is accepted: "
        return self._front.ask(question) == "yes"

    def _say(self, level: str, text: str) -> None:
        self._context.report.say(level, "step.skipped", text, label=self._context.label())  # type: ignore[arg-type]
