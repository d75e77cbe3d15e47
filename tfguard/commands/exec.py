"""
`tfguard exec -- PROGRAM …`: any program while this directory's state lock, or a named lock, is held.

Inside, scripts call tfguard, which finds the lock held by the one around it; a plain Terraform is refused by it. Where
the lock has to be each Terraform's own (azurerm), a plain one inside takes it by itself: every tfguard elsewhere is
kept out all the time, and a plain Terraform elsewhere while one of these runs.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence

from tfguard.errors import ProgramNotExecutable, ProgramNotFound
from tfguard.guard import messages
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.look import Footing
from tfguard.run.session import guarded
from tfguard.terraform import command_line
from tfguard.text import printable


def run_exec(call: Call, argv: Sequence[str], *, may_detach: bool = False) -> RunEnded:
    """
    Run a program under a lock; return how it ended.

    The lock is held until all that descends from the program is gone; `may_detach`: until the program itself is.

    Raises:
        TfguardError: Nothing was run, and why.
    """
    family = messages.Family(nest="", waits_for="all", may_detach=may_detach)
    program = _find_program(argv[0], call.environ)
    with guarded(call) as session:
        session.ensure_initialised()

        def body(footing: Footing) -> int:
            page, directory = call.report.page, str(session.context.current)
            keep = page.begin(page.story.label).write if page is not None else None
            # Nothing is pinned: what the program works on is its own affair, and a tfguard in it looks for itself.
            words = [program, *argv[1:]]
            return session.front.run(
                words, directory=directory, environ=footing.environ, keep=keep, family=family, is_last=True
            )

        return session.run(lambda: session.task(command_line.parse(("apply",), {}), command="exec"), body)


def _becomes_another_user(program: str) -> bool:
    """Whether it is setuid (`sudo`, say), so that we could not signal it. What becomes so later is seen when it is."""
    found = os.stat(program)
    return bool(found.st_mode & stat.S_ISUID) and os.geteuid() not in (0, found.st_uid)


def _find_program(name: str, environ: Mapping[str, str]) -> str:
    program = shutil.which(name, path=environ.get("PATH"))
    shown = printable(name, 60)
    if program is not None and _becomes_another_user(program):
        raise ProgramNotExecutable(
            f"exec: {shown} becomes another user's, and could not be stopped if the lock were lost.",
            f"Let it start tfguard instead: {shown} tfguard exec -- …",
        )
    if program is not None:
        return program
    if os.sep in name and os.path.exists(name):
        why = "a directory" if os.path.isdir(name) else "not executable"
        raise ProgramNotExecutable(f"exec: {shown} is {why}.", "Give the path of a program; chmod +x makes a file one.")
    where = "There is no such file" if os.sep in name else "It is not on PATH"
    raise ProgramNotFound(f"exec: there is no program {shown}.", f"{where}; give its path, or extend PATH.")
