"""
What whoever started us has left us with: our parent, the signals that we are to ignore, streams that are closed.

The first thing that a process of ours looks at, before it opens, starts or changes anything. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

#: What asks a run to stop.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Inherited:
    """
    `parent` is the process that started us, `ignored` and `blocked` the signals that it has told us to leave alone.

    `is_hangup_ignored`: somebody wishes this run to outlive the shell that started it, as `nohup` does. Inside another
    tfguard's run that is no wish: every program of ours ignores SIGHUP.
    """

    parent: int
    ignored: frozenset[int]
    blocked: frozenset[int]
    is_hangup_ignored: bool


_found: Inherited | None = None


def look() -> None:
    """Open what is closed of 0, 1 and 2, and keep the rest for `found`. To be called before all else."""
    global _found
    _open_streams()
    ignored = frozenset(int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN)
    _found = Inherited(
        parent=os.getppid(),
        ignored=ignored,
        blocked=frozenset(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        is_hangup_ignored=signal.SIGHUP in ignored and "TFGUARD_LOCK_ID" not in os.environ,
    )


def found() -> Inherited:
    """Return what `look` has found, looking now if nobody has."""
    if _found is None:
        look()
    assert _found is not None
    return _found


def _open_streams() -> None:
    """
    Let /dev/null stand where a standard stream is closed, as Terraform does for itself.

    Else the first pipe or socket that we open gets that number, and a child reads or writes it as its own stream.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - ours to the end
