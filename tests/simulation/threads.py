"""
Threads of simulated time: the product's own code runs in them, and blocks where it would block.

A thread is a greenlet. Where the code sleeps, waits for an event or asks a store, it is left standing and the world
goes on; the seed decides when it is resumed. So the code under test is the code that ships, down to its retries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    from tests.simulation.world import Process


class Thread(greenlet):
    """One thread of a process. It is killed and paused with its process."""

    def __init__(self, process: Process, body: Callable[[], None]) -> None:
        starter = getcurrent()
        super().__init__(body, starter.parent if isinstance(starter, Thread) else starter)  # Of all the world is.
        self.process = process
        self._turn = 0
        process.threads.append(self)
        process.after(0.0, self._go_on, 0, None)

    def resume_at_reply(self) -> Callable[[Any], None]:
        """Give what is to be called with the answer that the thread will wait for next. Only the first call counts."""
        turn = self._turn
        return lambda answer: self.process.do(self._go_on, turn, answer)

    def rest(self, seconds: float | None) -> None:
        """Stand still for so long, by our machine's clock; None: until woken."""
        if seconds is not None:
            self.process.after(max(0.0, seconds), self._go_on, self._turn, None)
        self.block()

    def wake(self) -> None:
        """End the rest that is on."""
        if isinstance(getcurrent(), Thread):  # Which goes on first.
            self.process.after(0.0, self._go_on, self._turn, None)
        else:
            self.process.do(self._go_on, self._turn, None)

    def block(self) -> Any:
        """Let the world go on until somebody resumes us; gives the answer that he has brought."""
        if self.process.world.is_over:
            raise GreenletExit
        assert self.parent is not None
        return self.parent.switch()

    def _go_on(self, turn: int, answer: Any) -> None:
        if turn == self._turn and not self.dead:
            self._turn += 1
            self.switch(*(() if turn == 0 else (answer,)))

    def end(self) -> None:
        """The world is over; nothing of ours runs any further."""
        if self and not self.dead:
            self.throw(GreenletExit)


def current() -> Thread:
    """The thread that is running; only code under test asks."""
    thread = getcurrent()
    assert isinstance(thread, Thread), "only a simulated thread can wait"
    return thread


class Event:
    """Stands in for `threading.Event`, for one who waits."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: Thread | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None:
            self._waiter.wake()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._waiter = current()
            self._waiter.rest(timeout)
            self._waiter = None
        return self._is_set
