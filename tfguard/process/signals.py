"""
Signals as events: who sent what, told to the front's loop.

Where the kernel lets us (Linux), a thread waits for signals with `sigwaitinfo`, which also tells whether the
terminal sent them: then Terraform, in the same process group, has had its own already. Elsewhere plain handlers do,
and what the terminal sent is guessed from sharing its group.

| signal               | sent by      | Terraform gets       | why                                               |
|----------------------|--------------|----------------------|---------------------------------------------------|
| SIGINT, SIGQUIT      | the terminal | nothing from us      | it shares our group: the kernel has sent it one   |
| SIGHUP               | the terminal | one SIGINT soon      | it ignores SIGHUP, of which it would die          |
| SIGINT, SIGHUP, QUIT | a process    | one SIGINT soon      | GitHub signals the entry process alone            |
| SIGTERM              | a process    | one SIGINT after 1 s | who signals every process has signalled Terraform |
|                      |              |                      | too: its "Interrupt received" tells               |
| SIGINT, SIGTERM      | a shell, to  | nothing from us      | it shares our group (`kill %1`): a sentinel in    |
|                      | its job      |                      | there has had it too, and tells within 1 s        |
| our parent's death   | the kernel   | one SIGINT soon      | a shell that dies does not pass its signal on     |
| the second, any      | anybody      | nothing from us      | at the second Terraform drops its state           |

*Soon* is after a quarter of a second: who signals every process signals the keeper as well, which hears of it by then,
and waits for Terraform's "Interrupt received" before it sends another.

The death of our parent arrives as a real-time signal that nobody else sends. The kernel sends it when the parent's
*thread* ends, too; such a one is ignored, by looking at who our parent is. One that has died before we could ask the
kernel to tell us is noticed by that as well.

A SIGHUP that was ignored when we were started stays ignored (`nohup`), and then the death of our parent means nothing
either: somebody wishes the run to outlive his shell.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable

from tfguard import threads
from tfguard.guard.signals import Received
from tfguard.process import inherited
from tfguard.process.inherited import STOPS

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SI_KERNEL = 128
_IS_LINUX = sys.platform == "linux"
_hears_parent_death = False


class SignalListener:
    """
    Collects the signals of this process; `fileno` becomes readable when there is one.

    Must be made in the main thread, before any other thread: they inherit its mask.
    """

    def __init__(self, on_defect: Callable[[BaseException], object] = repr) -> None:
        self._on_defect = on_defect
        self._defect: BaseException | None = None
        self._received: deque[Received] = deque()
        self._inherited = inherited.found()
        self._stops = {*STOPS} - ({signal.SIGHUP} if self._inherited.is_hangup_ignored else set())
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
        """
        Return what has arrived since the last call. For the main thread.

        Raises nothing: a thread that has a defect is replaced by plain handlers, and `on_defect` is told.
        """
        if self._defect is not None:
            defect, self._defect = self._defect, None
            self._install_handlers()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._stops)
            self._on_defect(defect)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        taken = list(self._received)
        self._received.clear()
        return taken

    def _wait_in_thread(self) -> None:
        parent_death = signal.SIGRTMIN + 5
        watched = {*self._stops, parent_death}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        global _hears_parent_death
        _hears_parent_death = _prctl(_PR_SET_PDEATHSIG, parent_death)
        self._look_at_parent()  # It may have died before the kernel knew that we wish to hear of it.
        threads.start("signals", lambda: self._collect(watched, parent_death), on_defect=self._do_without_thread)

    def _do_without_thread(self, error: BaseException) -> None:
        self._defect = error
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")

    def _collect(self, watched: set[int], parent_death: int) -> None:
        while True:
            info = signal.sigwaitinfo(watched)
            if info.si_signo != parent_death:
                self._put(Received(info.si_signo, is_from_terminal=info.si_code == _SI_KERNEL))
            else:
                self._look_at_parent()

    def _look_at_parent(self) -> None:
        if os.getppid() != self._inherited.parent and not self._inherited.is_hangup_ignored:
            self._put(Received(signal.SIGTERM, is_parent_death=True))

    def _install_handlers(self) -> None:
        for number in self._stops:
            signal.signal(number, lambda number, _: self._put(Received(number)))

    def _put(self, received: Received) -> None:
        self._received.append(received)
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")


def restore_defaults() -> None:
    """
    Undo what a listener has set up, and Python, before this process becomes another program: it survives an exec.

    What whoever started us had ignored or blocked is so again.
    """
    if _hears_parent_death:
        _prctl(_PR_SET_PDEATHSIG, 0)
    if _IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)  # Else it would inherit orphans, and Terraform reaps none.
    before = inherited.found()
    for number in (*STOPS, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN if number in before.ignored else signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these for itself.
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before.blocked)


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
