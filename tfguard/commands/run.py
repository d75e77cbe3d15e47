"""
`tfguard run PIPELINE`: the pipeline's steps, plan and apply of that very plan under one lock.

`init` comes before the lock: only an initialised directory knows which lock it is.
"""

from __future__ import annotations

from tfguard.errors import ConfigError, Outcome, TfguardCommand, UsageError
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.expected import plan_file, read_expectation
from tfguard.run.look import Footing
from tfguard.run.session import Session, guarded
from tfguard.run.steps import Steps, check_arguments
from tfguard.terraform import command_line


def run_pipeline(call: Call) -> RunEnded:
    """
    Run the steps of a pipeline; return how they ended: with the exit status of the first that failed, else 0.

    Raises:
        TfguardError: Nothing was run, and why; InitFailed with Terraform's status.
    """
    if not call.options.pipeline:
        raise UsageError("run needs a pipeline of tfguard.yml.", "For example: tfguard run prod/network")
    with guarded(call) as session:
        context = session.context
        _check_approval(session)
        if "init" in context.settings.steps:
            session.initialise()
        else:
            session.ensure_initialised()
        if {"plan", "apply"} & set(context.settings.steps):
            return _run_steps(session)
        ended = RunEnded(label=context.label(), outcome=Outcome.SUCCEEDED, exit_code=0)
        if context.report.page is not None:
            context.report.finish(ended)
        return ended


def _check_approval(session: Session) -> None:
    context = session.context
    found = context.settings
    if "apply" in found.steps and found.approve == "prompt" and not session.front.is_interactive:
        raise ConfigError(
            "approve is prompt, and there is no terminal to ask on; nothing was locked.",
            TfguardCommand("plan", lead="Set approve: auto in tfguard.yml, or plan only"),
            about=context.label(),
        )


def _run_steps(session: Session) -> RunEnded:
    context = session.context
    steps: list[str] = [step for step in context.settings.steps if step != "init"]
    for step in {*steps, "plan"} if session.context.options.expect else steps:
        check_arguments(context, step)
    given = session.context.options.expect
    expected = read_expectation(given) if given else None
    if expected and "apply" not in steps:
        raise UsageError("--expect is for what is applied, and the pipeline's steps have no apply.")
    invocation = command_line.parse(("apply",) if "apply" in steps else ("plan",), context.environ)

    def body(footing: Footing) -> int:
        with plan_file(session.front) as path:
            return Steps(session.front, footing, path, expected).run(steps)

    return session.run(lambda: session.task(invocation, is_plan="apply" not in steps), body)
