"""
Signals as events: who sent what, told to the front's loop.

Where the kernel lets us (Linux), a thread waits for signals with `sigwaitinfo`, which also tells whether the
terminal sent them: then Terraform, in the same process group, has had its own already. Elsewhere plain handlers do,
and what the terminal sent is guessed from sharing its group.

| signal               | sent by      | Terraform gets       | why                                               |
|----------------------|--------------|----------------------|---------------------------------------------------|
| SIGINT, SIGQUIT      | the terminal | nothing from us      | it shares our group: the kernel has sent it one   |
| SIGHUP               | the terminal | one SIGINT at once   | it ignores SIGHUP, of which it would die          |
| SIGINT, SIGHUP, QUIT | a process    | one SIGINT at once   | GitHub signals the entry process alone            |
| SIGTERM              | a process    | one SIGINT after 1 s | who signals every process has signalled Terraform |
|                      |              |                      | too: its "Interrupt received" tells               |
| our parent's death   | the kernel   | one SIGINT at once   | a shell that dies does not pass its signal on     |
| the second, any      | anybody      | nothing from us      | at the second Terraform drops its state           |

The death of our parent arrives as a real-time signal that nobody else sends. The kernel sends it when the parent's
*thread* ends, too; such a one is ignored, by looking at who our parent is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections import deque

from tfguard.guard.signals import Received

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SI_KERNEL = 128
_IS_LINUX = sys.platform == "linux"


class SignalListener:
    """
    Collects the signals of this process; `fileno` becomes readable when there is one.

    Must be made in the main thread, before any other thread: they inherit its mask.
    """

    def __init__(self) -> None:
        self._received: deque[Received] = deque()
        self._parent = os.getppid()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        if _IS_LINUX:
            self._wait_in_thread()
        else:
            self._install_handlers()

    def fileno(self) -> int:
        return self._read

    def take(self) -> list[Received]:
        """Return what has arrived since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        taken = list(self._received)
        self._received.clear()
        return taken

    def _wait_in_thread(self) -> None:
        parent_death = signal.SIGRTMIN + 5
        watched = {*STOPS, parent_death}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        _prctl(_PR_SET_PDEATHSIG, parent_death)
        threading.Thread(target=self._collect, args=(watched, parent_death), name="signals", daemon=True).start()

    def _collect(self, watched: set[int], parent_death: int) -> None:
        while True:
            info = signal.sigwaitinfo(watched)
            if info.si_signo != parent_death:
                self._put(Received(info.si_signo, is_from_terminal=info.si_code == _SI_KERNEL))
            elif os.getppid() != self._parent:
                self._put(Received(signal.SIGTERM, is_parent_death=True))

    def _install_handlers(self) -> None:
        for number in STOPS:
            signal.signal(number, lambda number, _: self._put(Received(number)))

    def _put(self, received: Received) -> None:
        self._received.append(received)
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")


def restore_defaults() -> None:
    """Undo what a listener has set up, before this process becomes another program: all of it survives an exec."""
    if _IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, 0)
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)  # Else it would inherit orphans, and Terraform reaps none.
    for number in (*STOPS, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def become_subreaper() -> bool:
    """Inherit the children of every descendant that dies; return whether the kernel can. Survives an exec."""
    return _IS_LINUX and _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_of(number: int) -> None:
    """End as a process does that the signal killed, so that an outer shell stops too; PID 1 just exits."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _prctl(option: int, value: int) -> bool:
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)
