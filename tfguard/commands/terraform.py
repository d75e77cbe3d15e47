"""
`tfguard COMMAND …`: any command of Terraform's, under the lock if it takes one, else untouched by `execve`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from tfguard import arguments, launch, log, messages, wire
from tfguard.arguments import Invocation
from tfguard.backend import Unlockable
from tfguard.commands.shown import forgiven, run_shown
from tfguard.context import Context, find_target, make_context, make_task
from tfguard.errors import ConfigError, ProgramNotExecutable, UsageError
from tfguard.front import Front
from tfguard.initialise import ensure_initialised, initialise
from tfguard.narrator import Narrator
from tfguard.options import Options
from tfguard.report import Report
from tfguard.runner import Runner
from tfguard.settings import var_file_arguments

#: Commands that read the backend: for a pipeline its directory is initialised first.
_READS_BACKEND = frozenset({"console", "force-unlock", "graph", "output", "providers", "show", "state", "workspace"})


def run_terraform(options: Options, environ: Mapping[str, str], report: Report) -> int:
    """
    Run one Terraform command line; gives the exit status, or does not return (`execve`).

    Raises:
        TfguardError: Nothing was run, and why.
    """
    if options.is_raw:
        _replace_ourselves(make_context(options, environ, report), options.command, environ)
    misplaced = arguments.misplaced_option(options.command)
    if misplaced:
        raise _misplaced(misplaced, options.command)
    invocation = arguments.parse(options.command, environ)
    if invocation.verdict != "lock" and not options.pipeline:
        return _without_lock(make_context(options, environ, report), invocation)
    narrator = Narrator(report, messages.Subject(options.pipeline or "tfguard"))
    front = Front(narrator.hear, environ)  # First: the keeper imports boto3 while we read the configuration.
    try:
        return _guard(front, narrator, make_context(options, environ, report))
    finally:
        front.close()


def _misplaced(option: str, command: Sequence[str]) -> UsageError:
    at = next(index for index, word in enumerate(command) if word.partition("=")[0] == option)
    value = command[at + 1] if "=" not in command[at] and at + 1 < len(command) else ""
    has_value = option not in ("--verbose", "--quiet", "--ignore-errored-state") and "=" not in command[at] and value
    moved = f"{command[at]} {value}" if has_value else command[at]
    return UsageError(f"`{option}` belongs before the command: tfguard {moved} {command[0]}")


def _guard(front: Front, narrator: Narrator, context: Context) -> int:
    invocation = _for_pipeline(context)
    if invocation.words == ("init",) and context.settings.pipeline:
        initialise(front, context, context.options.command[1:], stdout=1)
        return 0
    if invocation.verdict == "lock" or (invocation.words[:1] and invocation.words[0] in _READS_BACKEND):
        ensure_initialised(front, context)
    if invocation.verdict != "lock":
        return _without_lock(context, invocation, front)
    if invocation.words == ("plan",) and context.settings.lock.plan == "skip":
        return _plan_unlocked(context, invocation, front)
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        return _unlockable(context, invocation, target, front)
    task = make_task(context, target, invocation)

    def body(held: wire.Held, environ: dict[str, str]) -> int:
        log.warm_up()
        argv, environ = child_arguments(context, invocation, held, environ)
        return run_shown(front, context, invocation, argv, environ)

    return forgiven(context, invocation, Runner(front, context.report, narrator).run(task, body))


def child_arguments(
    context: Context, invocation: Invocation, held: wire.Held, environ: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Terraform's arguments: without its own locking where we hold its lock, with it in `named` mode."""
    lock = context.settings.lock
    if lock.mode == "named":
        return arguments.native_arguments(invocation, max(0.0, lock.timeout_seconds - held.waited_seconds)), environ
    return arguments.child_arguments(invocation, environ)


def _for_pipeline(context: Context) -> Invocation:
    """The command line with the pipeline's own arguments put first, so that the user's win."""
    found = arguments.parse(context.options.command, context.environ)
    if not context.settings.pipeline or not found.words:
        return found
    has_plan_file = found.plan_file is not None
    flags = var_file_arguments(context.settings, found.words, has_plan_file=has_plan_file)
    if not has_plan_file:
        flags += context.settings.args.get(found.words[0], ())
    return arguments.with_flags(found, flags, context.environ) if flags else found


def _unlockable(context: Context, invocation: Invocation, found: Unlockable, front: Front) -> int:
    if found.needs_lock:
        raise ConfigError(messages.about(context.label(), found.reason))
    return _without_lock(context, replace(invocation, reason=found.reason, verdict="pass"), front)


def _plan_unlocked(context: Context, invocation: Invocation, front: Front) -> int:
    label = context.label()
    context.report.say("info", "lock.skipped", messages.plan_unlocked(label), label=label)
    argv, environ = arguments.child_arguments(invocation, context.environ)
    _replace_ourselves(context, argv, environ, front)


def _without_lock(context: Context, invocation: Invocation, front: Front | None = None) -> int:
    if invocation.verdict == "unlocked":
        label = context.label()
        context.report.say("warning", "lock.skipped", messages.unlocked(label), label=label)
    environ = context.environ if context.settings.pipeline else os.environ
    _replace_ourselves(context, invocation.argv, environ, front)


def _replace_ourselves(
    context: Context, argv: Sequence[str], environ: Mapping[str, str], front: Front | None = None
) -> NoReturn:
    """Become Terraform: no keeper, no relay, its own start-up time and its own locking."""
    program = context.terraform
    launch.dismiss()
    if front is not None:
        front.stand_down()
    try:
        os.chdir(context.directory)
        os.execve(program[0], [*program, *argv], dict(environ))
    except OSError as error:
        raise ProgramNotExecutable(f"{program[0]}: {error.strerror}.\nName another with --terraform.") from error
