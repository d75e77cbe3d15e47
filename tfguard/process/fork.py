"""
A process of ours without a Python of its own: a fork of the keeper that never becomes another program, or late.

A start of Python costs 30 to 40 ms of CPU, a fork three. It is safe while the keeper has one thread, and only then: a
lock that another thread holds would stay locked in the copy for ever. What the copy has of its keeper's it lets go of
before anything else: descriptors (the front must see its keeper's end), handlers, the streams.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence

from tfguard.process.inherited import STOPS

#: In /proc/PID/stat, counted from behind the name: where the words lie that `ps` shows, and the variables after them.
_WORDS_BEGIN, _WORDS_END, _VARIABLES_BEGIN, _VARIABLES_END = 45, 46, 47, 48


class Forked:
    """The child: what is needed of it of a `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its exit status (-n: signal n) once it has ended, and reap it."""
        if self._status is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kill(self) -> None:
        """SIGKILL it, if it has not been reaped."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def is_possible() -> bool:
    """Whether this process has one thread, and may give its copy a name: on Linux, as far as we can look."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1 and os.access("/proc/self/mem", os.W_OK)
    return False


def fork(name: str, main: Callable[[], int], keep: Sequence[int]) -> Forked:
    """
    Start a copy of this process, shown as `name`, that calls `main` and ends with what it returns.

    It has a session of its own if it makes one, no descriptor but `keep` and /dev/null as 0, 1 and 2, nobody's
    handlers, and the signals that ask to stop blocked. Only where it `is_possible`. Raises OSError.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # No handler of ours runs in the copy.
    try:
        pid = os.fork()
        if pid == 0:
            _be_born(name, main, keep)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Forked(pid)


def _be_born(name: str, main: Callable[[], int], keep: Sequence[int]) -> None:
    """Never returns: what is below us on the stack is the keeper's."""
    status = 1
    try:
        gc.freeze()  # Nothing of the keeper's is ever collected: it would close what has its number by then.
        gc.enable()
        _take_name(name)
        signal.set_wakeup_fd(-1)
        for number in (*STOPS, signal.SIGTSTP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _let_go_of_descriptors(keep)
        signal.pthread_sigmask(signal.SIG_SETMASK, STOPS)
        status = main()
    finally:
        os._exit(status)


def _let_go_of_descriptors(keep: Sequence[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # That of the listing itself.
                os.close(descriptor)


def _take_name(name: str) -> None:
    """
    Write it over the words that we were started with, and nothing over the variables. Raises OSError.

    People look for it in the list of processes, and we do: a sentinel is nobody's program. It needs nothing of what the
    keeper was given, secrets among it.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    begin, end = int(fields[_WORDS_BEGIN]), int(fields[_WORDS_END])
    first, last = int(fields[_VARIABLES_BEGIN]), int(fields[_VARIABLES_END])
    words = b"\0".join((os.fsencode(sys.executable), name.encode()))
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(words.ljust(end - begin, b"\0")[: end - begin])
        memory.seek(first)
        memory.write(bytes(last - first))
