"""
Become the child: what has to be done between fork and exec, in a process of its own.

Standard library only, started by `bare.command`: a keeper with threads must not run Python between fork and exec. The
first program of a run needs no such start: see `standby`.

Enters itself in the page, so that front and sentinel know it before it can do anything; joins the process group,
ignores SIGHUP (Terraform would die of it at once), gives what was handed to it the numbers that the program knows it
by, and unblocks all signals.

It is born with the signals that ask to stop blocked, so that none is lost: one that comes before they are unblocked
ends this process then, and nothing has been started; one that comes later is the program's own.
"""

import os
import resource
import signal
import sys
from collections.abc import Mapping

from tfguard.process.page import Page

NOT_FOUND, NOT_EXECUTABLE = 127, 126
#: Ignored by Python (the first two), by the keeper (the last two), or by whoever started tfguard.
DEFAULTS = (
    signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGTSTP,
    signal.SIGTTOU, signal.SIGTTIN,
)  # fmt: skip


def written(moves: "Mapping[int, int]") -> str:
    """What is to be had under which number, as a word: `{63: 9}` says that 9 becomes 63."""
    return ",".join(f"{number}={descriptor}" for number, descriptor in moves.items())


def read(text: str) -> "Mapping[int, int]":
    """Read what `written` has written."""
    return dict(tuple(map(int, move.split("="))) for move in text.split(",") if move)  # type: ignore[misc]


def place(moves: "Mapping[int, int]") -> None:
    """
    Give each descriptor its number, and close it where it was. Raises OSError.

    A number that is wanted may be another's place still: that one moves first. No number above the highest that is
    named is needed, for there may be none (`ulimit -n`). One above the soft limit was opened before that was lowered.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max([soft, *(number + 1 for number in moves)]), hard))
    try:
        _move(moves)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _move(moves: "Mapping[int, int]") -> None:
    left = dict(moves)
    while left:
        places = set(left.values())
        number = next((each for each in left if each not in places or left[each] == each), None)
        if number is None:  # They stand in a circle: one steps aside, to a number that nobody wants.
            number = next(iter(left))
            left[number], old = os.dup(left[number]), left[number]
            os.close(old)
            continue
        descriptor = left.pop(number)
        if descriptor == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(descriptor, number)
            os.close(descriptor)


def main(group: int, parent: int, page: int, words: "list[str]", environ: "Mapping[str, str]" = os.environ) -> int:
    """
    Set the process up and exec; returns only if that fails. `group` 0: a session of our own.

    `words` are which descriptors go where (`written`), and then the program with its arguments.
    """
    moves, *argv = words
    if group:
        os.setpgid(0, group)
    else:  # A frozen group that loses its last parent in the same session is let go on, by the kernel.
        os.setsid()
    Page(page).enter(os.getpid())
    os.close(page)  # Its number may be wanted.
    if os.getppid() != parent:  # It died before we were known.
        return 128 + signal.SIGINT
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Before they are unblocked: Python has a handler of its own for SIGINT, which an exec would lose with the signal.
    for number in DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    shown = argv[0].replace("#", "# ")  # A CI's log obeys `##[…]`. `text` is not at hand here.
    try:
        if moves:
            place(read(moves))
        os.execvpe(argv[0], argv, environ)
    except FileNotFoundError as error:
        print(f"tfguard: {shown}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"tfguard: {shown}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE
