"""
What whoever started us has left us with: our parent, the signals to ignore, streams that are closed, others open.

The first thing that a process of ours looks at, before it opens, starts or changes anything. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from dataclasses import dataclass, replace

#: What asks a run to stop.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


@dataclass(frozen=True)
class Inherited:
    """
    `parent` is the process that started us, `ignored` and `blocked` the signals that it has told us to leave alone.

    `is_hangup_ignored`: somebody wishes this run to outlive the shell that started it, as `nohup` does. Inside another
    tfguard's run that is no wish: every program of ours ignores SIGHUP.

    `descriptors` are those beside 0, 1 and 2 that were opened for the program that we are called instead of: a shell's
    `5>log` or `<(…)`, make's jobserver. Ours are not among them: those end with an exec, and nothing of ours is open
    yet.
    """

    parent: int
    ignored: frozenset[int]
    blocked: frozenset[int]
    is_hangup_ignored: bool
    descriptors: tuple[int, ...] = ()


#: Where the kernel lists a process's own descriptors: Linux, macOS.
_LISTS = ("/proc/self/fd", "/dev/fd")
#: Without such a list, so many are tried.
_TRIED = 4096
_STDERR = 2

_found: Inherited | None = None


def look() -> None:
    """Open what is closed of 0, 1 and 2, and keep the rest for `found`. To be called before all else."""
    global _found
    _open_streams()
    _forget_own_locale()
    ignored = frozenset(int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN)
    _found = Inherited(
        parent=os.getppid(),
        ignored=ignored,
        blocked=frozenset(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        is_hangup_ignored=signal.SIGHUP in ignored and "TFGUARD_LOCK_ID" not in os.environ,
        descriptors=_handed_down(),
    )


def found() -> Inherited:
    """Return what `look` has found, looking now if nobody has."""
    if _found is None:
        look()
    assert _found is not None
    return _found


def let_go() -> None:
    """
    The last program that they were opened for has them: close them here.

    Whoever reads the other end of one waits until the last process has closed it, and that is to be the program.
    """
    global _found
    known = found()
    for descriptor in known.descriptors:
        os.close(descriptor)
    _found = replace(known, descriptors=())


def _handed_down() -> tuple[int, ...]:
    # One above the limit was opened before that was lowered. It cannot be opened anew, in whatever process.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    end = limit if limit != resource.RLIM_INFINITY else sys.maxsize
    return tuple(number for number in _listed() if _STDERR < number < end and _is_handed_down(number))


def _listed() -> list[int]:
    for place in _LISTS:
        try:
            return sorted(int(name) for name in os.listdir(place) if name.isdigit())
        except OSError:
            continue
    return list(range(_TRIED))


def _is_handed_down(descriptor: int) -> bool:
    """Whether it is open, and would stay so in a program that we become: what is not so cannot have come to us."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def _forget_own_locale() -> None:
    """
    Take out the LC_CTYPE that Python sets for itself in the C locale, which our children would inherit (PEP 538).

    Terraform, and the programs that give credentials to it and to us, are to see what we were started with.
    """
    if os.environ.get("LC_CTYPE") in _COERCED:
        with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as file:
            if not any(each.startswith(b"LC_CTYPE=") for each in file.read().split(b"\0")):
                os.environ.pop("LC_CTYPE")


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
