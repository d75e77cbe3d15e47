"""
`tfguard exec -- PROGRAM …`: any program while this directory's state lock, or a named lock, is held.

Inside, scripts call tfguard, which finds the lock held by the one around it; a plain Terraform is refused by it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tfguard.backends.target import Target, Unlockable
from tfguard.config.options import Options
from tfguard.errors import ConfigError, ProgramNotExecutable, ProgramNotFound
from tfguard.lock import protocol
from tfguard.process.front import Front
from tfguard.report import log
from tfguard.report.messages import phrases
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter
from tfguard.run.context import Context, find_target, make_context, named_target
from tfguard.run.initialise import ensure_initialised
from tfguard.run.runner import Runner
from tfguard.run.task import make_task
from tfguard.terraform import command_line
from tfguard.text import printable


def run_exec(
    options: Options,
    environ: Mapping[str, str],
    report: Reporter,
    argv: Sequence[str],
    *,
    name: str | None = None,
    store: str | None = None,
) -> int:
    """
    Run a program under a lock; gives its exit status.

    Raises:
        TfguardError: Nothing was run, and why.
    """
    program = _find_program(argv[0], environ)
    narrator = Narrator(report, phrases.Subject(options.pipeline or name or "tfguard"))
    with contextlib.closing(Front(narrator.hear, environ)) as front:
        context = make_context(options, environ, report)
        ensure_initialised(front, context)
        target = _target(context, name, store)
        task = make_task(context, target, command_line.parse(("apply",), {}), command="exec")
        if name and store:
            lock_options = shlex.join(["--name", name, "--store", store])
            task = replace(task, subject=replace(task.subject, lock_options=lock_options))

        def body(_: protocol.Held, environ: dict[str, str]) -> int:
            log.warm_up()
            keep = report.page.begin(task.subject.label).write if report.page is not None else None
            return front.run([program, *argv[1:]], directory=str(context.current), environ=environ, keep=keep)

        return Runner(front, report, narrator).run(task, body)


def _find_program(name: str, environ: Mapping[str, str]) -> str:
    program = shutil.which(name, path=environ.get("PATH"))
    if program is not None:
        return program
    shown = printable(name, 60)
    if os.sep in name and os.path.exists(name):
        why = "a directory" if os.path.isdir(name) else "not executable"
        raise ProgramNotExecutable(f"exec: {shown} is {why}.\nGive the path of a program; chmod +x makes a file one.")
    where = "There is no such file" if os.sep in name else "It is not on PATH"
    raise ProgramNotFound(f"exec: there is no program {shown}.\n{where}; give its path, or extend PATH.")


def _target(context: Context, name: str | None, store: str | None) -> Target:
    if name and store:
        return named_target(context, name, store)
    target = find_target(context, command_line.parse(("apply",), {}))
    if isinstance(target, Unlockable):
        raise ConfigError(phrases.about(context.label(), target.reason))
    return target
