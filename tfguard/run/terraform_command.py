"""
One Terraform command line, run as it needs to be: under its lock, without one, or by becoming Terraform.

We become it (`execve`) wherever there is nothing to guard and no page to tell of it. On a page a command without a
lock is run as the others are; never one that prints data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tfguard import files, outlet
from tfguard.backends.target import Unlockable
from tfguard.ci import platform
from tfguard.config.settings import var_file_arguments
from tfguard.errors import NAMED, ConfigError, ProgramNotExecutable
from tfguard.process import launch
from tfguard.process.front import Front
from tfguard.process.signals import restore_defaults
from tfguard.report.messages import starting
from tfguard.report.run_ended import RunEnded
from tfguard.run import child_backend
from tfguard.run.cache_turn import cache_turn
from tfguard.run.call import Call
from tfguard.run.context import Context, find_target, make_context
from tfguard.run.initialise import initialise
from tfguard.run.look import Footing
from tfguard.run.session import Session, guarded
from tfguard.run.shown import for_platform, has_page_for, run_on_page
from tfguard.terraform import command_line
from tfguard.terraform.binary import find_binary
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.plugin_cache import find_plugin_cache


def run_command(call: Call) -> RunEnded | int:
    """
    Run the call's command line; return how it ended, or do not return (`execve`).

    Raises:
        TfguardError: Nothing was run, and why.
    """
    if files.is_directory_gone() and not call.options.pipeline:
        _leave_to_terraform(call)
    invocation = command_line.parse(call.options.command, call.environ)
    context: Context | None = None
    if invocation.verdict != "lock" and not call.options.pipeline:
        context = make_context(call)
        if not (_takes_lock(context, invocation) or has_page_for(context, invocation)):
            _tell_of_no_lock(context, invocation)
            become_terraform(context, invocation.argv, _environ(context))
    with guarded(call, context) as session:
        return _run(session, for_pipeline(session.context))


def become_terraform(
    context: Context, argv: Sequence[str], environ: Mapping[str, str], front: Front | None = None
) -> NoReturn:
    """Become Terraform: no keeper, no relay, its own start-up time and its own locking."""
    if context.report.page is not None:
        context.report.page.forget()
    if front is not None:
        front.stand_down()
    _become(context.terraform, argv, environ, context.directory)


def _become(
    program: Sequence[str], argv: Sequence[str], environ: Mapping[str, str], directory: Path | None
) -> NoReturn:
    outlet.flush()
    launch.dismiss()
    restore_defaults()
    try:
        if directory is not None:
            os.chdir(directory)
        # Without a variable that has no name: Python refuses it, and nobody can ask for it.
        os.execve(program[0], [*program, *argv], {name: value for name, value in environ.items() if name})
    except OSError as error:
        what = f"{program[0]}: {error.strerror}."
        raise ProgramNotExecutable(what, "Name another with --terraform.", about=NAMED) from error


def _leave_to_terraform(call: Call) -> NoReturn:
    """Our directory has been removed, or may not be entered: Terraform does nothing there, and says so best."""
    options = call.options
    binary = find_binary(call.environ, flag=options.terraform, kind=None, self_path=Path(sys.argv[0]))
    chdir = [f"-chdir={options.chdir}"] if options.chdir else []
    _become([str(binary.path), *chdir], options.command, os.environ, None)


def child_arguments(context: Context, invocation: Invocation, footing: Footing) -> tuple[list[str], dict[str, str]]:
    """
    Return the arguments and the environment of a Terraform that runs under our lock.

    Without its own locking where we hold its lock, and with what decides which state it writes pinned; with its own
    locking where that has to be its own, and in `named` mode.
    """
    if context.settings.lock.mode == "named":
        return command_line.native_arguments(invocation, _left(context, footing)), dict(footing.environ)
    pinned, environ = footing.pin(invocation)
    if footing.look.target.child_locks:
        return command_line.native_arguments(pinned, _left(context, footing)), dict(environ)
    lock_id, folder = footing.held.lock_id, footing.folder
    return command_line.child_arguments(*child_backend.given(pinned, environ, footing.look, lock_id, folder))


def _left(context: Context, footing: Footing) -> float:
    """For how long a Terraform that locks by itself may still wait."""
    return max(0.0, context.settings.terms.timeout_seconds - footing.held.waited_seconds)


def for_pipeline(context: Context) -> Invocation:
    """The command line with the pipeline's own arguments put first, so that the user's win."""
    found = command_line.parse(context.options.command, context.environ)
    if not context.settings.pipeline or not found.words:
        return found
    has_plan_file = found.plan_file is not None
    flags = var_file_arguments(context.settings, found.words, has_plan_file=has_plan_file)
    if not has_plan_file:
        flags += context.settings.args.get(found.words[0], ())
    return command_line.with_flags(found, flags, context.environ) if flags else found


def _run(session: Session, invocation: Invocation) -> RunEnded | int:
    context = session.context
    if invocation.words == ("init",) and context.settings.pipeline:
        return _tell(session, invocation, lambda: _initialise(session))
    if invocation.reads_backend:
        session.ensure_initialised()
    if not _takes_lock(context, invocation):
        return _run_without_lock(session, invocation)
    if invocation.words == ("plan",) and context.settings.lock.plan == "skip":
        if invocation.is_unread:
            return _run_without_lock(session, invocation)
        return _plan_unlocked(session, invocation)
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        return _run_unlockable(session, invocation, target)
    child_backend.check_plan(invocation, target)

    def body(footing: Footing) -> int:
        argv, environ = child_arguments(context, invocation, footing)
        return run_on_page(session.front, footing.context, invocation, argv, environ)

    ended = session.run(lambda: session.task(invocation), body)
    return for_platform(context, invocation, ended)


def _takes_lock(context: Context, invocation: Invocation) -> bool:
    """Whether it runs under a lock of ours. A named one stands beside Terraform's, and asks for no certain reading."""
    is_named = context.settings.lock.mode == "named"
    return invocation.verdict == "lock" or (invocation.is_unread and is_named)


def _initialise(session: Session) -> int:
    initialise(session.front, session.context, session.context.options.command[1:], stdout=1)
    return 0


def _run_unlockable(session: Session, invocation: Invocation, found: Unlockable) -> RunEnded | int:
    if found.needs_lock:
        raise ConfigError(found.reason, about=session.context.label())
    if found.is_told:
        label = session.context.label()
        session.context.report.say("info", "lock.skipped", f"{label}: {found.reason}", label=label)
    return _run_without_lock(session, replace(invocation, reason=found.reason, verdict="pass"))


def _plan_unlocked(session: Session, invocation: Invocation) -> RunEnded | int:
    context, label = session.context, session.context.label()
    context.report.say("info", "lock.skipped", starting.plan_unlocked(label), label=label)
    argv, environ = command_line.child_arguments(invocation, context.environ)
    return _run_or_become(session, invocation, argv, environ)


def _run_without_lock(session: Session, invocation: Invocation) -> RunEnded | int:
    _tell_of_no_lock(session.context, invocation)
    return _run_or_become(session, invocation, invocation.argv, _environ(session.context))


def _run_or_become(
    session: Session, invocation: Invocation, argv: Sequence[str], environ: Mapping[str, str]
) -> RunEnded | int:
    """Run it without a lock of ours: as the page wants it, else become it."""
    context = session.context
    if not has_page_for(context, invocation):
        become_terraform(context, argv, environ, session.front)
    environ = platform.without_page(environ)
    cache = find_plugin_cache(environ, context.directory) if invocation.words == ("init",) else None

    def body() -> int:
        with cache_turn(session.front, context, cache):
            return run_on_page(session.front, context, invocation, argv, environ, is_guarded=False)

    return _tell(session, invocation, body)


def _tell(session: Session, invocation: Invocation, body: Callable[[], int]) -> RunEnded | int:
    """Let a page, if there is one, tell of what ran without a lock of ours."""
    context = session.context
    if context.report.page is None:
        return body()
    is_detailed = invocation.words == ("plan",) and invocation.is_set("detailed-exitcode")
    codes = frozenset({0, 2}) if is_detailed else frozenset({0})
    return for_platform(context, invocation, session.run_unlocked(body, codes))


def _tell_of_no_lock(context: Context, invocation: Invocation) -> None:
    if invocation.verdict == "unlocked":
        label = context.label()
        context.report.say("warning", "lock.skipped", starting.unlocked(label), label=label)
    elif invocation.is_unread:
        text = starting.unread(context.label(), invocation.reason)
        context.report.say("warning", "lock.skipped", text, label=context.label())


def _environ(context: Context) -> Mapping[str, str]:
    return context.environ if context.settings.pipeline else os.environ
