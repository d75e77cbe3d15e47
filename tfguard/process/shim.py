"""
Become the child: what has to be done between fork and exec, in a process of its own.

Standard library only, started by `bare.command`: a keeper with threads must not run Python between fork and exec. The
first program of a run needs no such start: see `standby`.

Enters itself in the page, so that front and sentinel know it before it can do anything; joins the process group,
ignores SIGHUP (Terraform would die of it at once) and unblocks all signals.

It is born with the signals that ask to stop blocked, so that none is lost: one that comes before they are unblocked
ends this process then, and nothing has been started; one that comes later is the program's own.
"""

import os
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


def main(group: int, parent: int, page: int, argv: "list[str]", environ: "Mapping[str, str]" = os.environ) -> int:
    """Set the process up and exec `argv`; returns only if that fails. `group` 0: a session of our own."""
    if group:
        os.setpgid(0, group)
    else:  # A frozen group that loses its last parent in the same session is let go on, by the kernel.
        os.setsid()
    os.set_inheritable(page, False)
    Page(page).enter(os.getpid())
    if os.getppid() != parent:  # It died before we were known.
        return 128 + signal.SIGINT
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Before they are unblocked: Python has a handler of its own for SIGINT, which an exec would lose with the signal.
    for number in DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvpe(argv[0], argv, environ)
    except FileNotFoundError as error:
        print(f"tfguard: {argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"tfguard: {argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE
