"""
`tfguard COMMAND …`: any command of Terraform's, under the lock if it takes one, else untouched by `execve`.

Only where a page is to tell of it, a command without a lock is run as the others are; never one that prints data.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from tfguard.backends.target import Unlockable
from tfguard.config.options import Options
from tfguard.config.settings import var_file_arguments
from tfguard.errors import ConfigError, ProgramNotExecutable, UsageError
from tfguard.lock import protocol
from tfguard.process import launch
from tfguard.process.front import Front
from tfguard.report import log
from tfguard.report.messages import phrases, starting
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter
from tfguard.run.context import Context, find_target, make_context
from tfguard.run.initialise import ensure_initialised, initialise
from tfguard.run.runner import Runner
from tfguard.run.shown import github_exit_status, has_page_for, run_on_page
from tfguard.run.task import make_task
from tfguard.terraform import command_line
from tfguard.terraform.command_line import Invocation


def run_terraform(options: Options, environ: Mapping[str, str], report: Reporter) -> int:
    """
    Run one Terraform command line; gives the exit status, or does not return (`execve`).

    Raises:
        TfguardError: Nothing was run, and why.
    """
    if options.is_raw:
        _replace_ourselves(make_context(options, environ, report), options.command, environ)
    misplaced = command_line.misplaced_option(options.command)
    if misplaced:
        raise _misplaced(misplaced, options.command)
    invocation = command_line.parse(options.command, environ)
    context: Context | None = None
    if invocation.verdict != "lock" and not options.pipeline:
        context = make_context(options, environ, report)
        if not has_page_for(context, invocation):
            _replace_without_lock(context, invocation)
    narrator = Narrator(report, phrases.Subject(options.pipeline or "tfguard"))
    # First: the keeper imports boto3 while we read the configuration.
    with contextlib.closing(Front(narrator.hear, environ)) as front:
        return _guard(front, narrator, context or make_context(options, environ, report))


def _misplaced(option: str, command: Sequence[str]) -> UsageError:
    at = next(index for index, word in enumerate(command) if word.partition("=")[0] == option)
    value = command[at + 1] if "=" not in command[at] and at + 1 < len(command) else ""
    has_value = option not in ("--verbose", "--quiet", "--ignore-errored-state") and "=" not in command[at] and value
    moved = f"{command[at]} {value}" if has_value else command[at]
    return UsageError(f"`{option}` belongs before the command: tfguard {moved} {command[0]}")


def _guard(front: Front, narrator: Narrator, context: Context) -> int:
    invocation = _for_pipeline(context)
    runner = Runner(front, context.report, narrator)
    if invocation.words == ("init",) and context.settings.pipeline:
        return _told(runner, context, invocation, lambda: _initialise(front, context))
    if invocation.reads_backend:
        ensure_initialised(front, context)
    if invocation.verdict != "lock":
        return _without_lock(runner, context, invocation)
    if invocation.words == ("plan",) and context.settings.lock.plan == "skip":
        return _plan_unlocked(runner, context, invocation)
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        return _unlockable(runner, context, invocation, target)
    task = make_task(context, target, invocation)

    def body(held: protocol.Held, environ: dict[str, str]) -> int:
        log.warm_up()
        argv, environ = child_arguments(context, invocation, held, environ)
        return run_on_page(front, context, invocation, argv, environ)

    return github_exit_status(context, invocation, runner.run(task, body))


def child_arguments(
    context: Context, invocation: Invocation, held: protocol.Held, environ: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Terraform's arguments: without its own locking where we hold its lock, with it in `named` mode."""
    if context.settings.lock.mode == "named":
        left = max(0.0, context.settings.terms.timeout_seconds - held.waited_seconds)
        return command_line.native_arguments(invocation, left), environ
    return command_line.child_arguments(invocation, environ)


def _for_pipeline(context: Context) -> Invocation:
    """The command line with the pipeline's own arguments put first, so that the user's win."""
    found = command_line.parse(context.options.command, context.environ)
    if not context.settings.pipeline or not found.words:
        return found
    has_plan_file = found.plan_file is not None
    flags = var_file_arguments(context.settings, found.words, has_plan_file=has_plan_file)
    if not has_plan_file:
        flags += context.settings.args.get(found.words[0], ())
    return command_line.with_flags(found, flags, context.environ) if flags else found


def _initialise(front: Front, context: Context) -> int:
    initialise(front, context, context.options.command[1:], stdout=1)
    return 0


def _unlockable(runner: Runner, context: Context, invocation: Invocation, found: Unlockable) -> int:
    if found.needs_lock:
        raise ConfigError(phrases.about(context.label(), found.reason))
    return _without_lock(runner, context, replace(invocation, reason=found.reason, verdict="pass"))


def _plan_unlocked(runner: Runner, context: Context, invocation: Invocation) -> int:
    label = context.label()
    context.report.say("info", "lock.skipped", starting.plan_unlocked(label), label=label)
    argv, environ = command_line.child_arguments(invocation, context.environ)
    return _run_unlocked(runner, context, invocation, argv, environ)


def _without_lock(runner: Runner, context: Context, invocation: Invocation) -> int:
    _tell_of_no_lock(context, invocation)
    return _run_unlocked(runner, context, invocation, invocation.argv, _environ(context))


def _run_unlocked(
    runner: Runner, context: Context, invocation: Invocation, argv: Sequence[str], environ: Mapping[str, str]
) -> int:
    """Run it without a lock of ours: as the page wants it, else become it."""
    if not has_page_for(context, invocation):
        _replace_ourselves(context, argv, environ, runner.front)
    environ = {name: value for name, value in environ.items() if name != "TFGUARD_CI_LOG"}
    return _told(runner, context, invocation, lambda: run_on_page(runner.front, context, invocation, argv, environ))


def _told(runner: Runner, context: Context, invocation: Invocation, body: Callable[[], int]) -> int:
    """Let a page, if there is one, tell of what ran without a lock of ours."""
    if context.report.page is None:
        return body()
    is_detailed = invocation.words == ("plan",) and invocation.is_set("detailed-exitcode")
    codes = frozenset({0, 2}) if is_detailed else frozenset({0})
    status = runner.run_unlocked(phrases.Subject(context.label(), command=context.options.again), body, codes)
    return github_exit_status(context, invocation, status)


def _replace_without_lock(context: Context, invocation: Invocation) -> NoReturn:
    _tell_of_no_lock(context, invocation)
    _replace_ourselves(context, invocation.argv, _environ(context))


def _tell_of_no_lock(context: Context, invocation: Invocation) -> None:
    if invocation.verdict == "unlocked":
        label = context.label()
        context.report.say("warning", "lock.skipped", starting.unlocked(label), label=label)


def _environ(context: Context) -> Mapping[str, str]:
    return context.environ if context.settings.pipeline else os.environ


def _replace_ourselves(
    context: Context, argv: Sequence[str], environ: Mapping[str, str], front: Front | None = None
) -> NoReturn:
    """Become Terraform: no keeper, no relay, its own start-up time and its own locking."""
    program = context.terraform
    if context.report.page is not None:
        context.report.page.forget()
    launch.dismiss()
    if front is not None:
        front.stand_down()
    try:
        os.chdir(context.directory)
        os.execve(program[0], [*program, *argv], dict(environ))
    except OSError as error:
        raise ProgramNotExecutable(f"{program[0]}: {error.strerror}.\nName another with --terraform.") from error
