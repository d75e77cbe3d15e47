"""
A descriptor that others read: what we say goes there in order, and a reader who does not read holds nobody up.

One thread a descriptor does the writing. Who only has something to say waits a moment at most (so that what is said
before a program starts stands before what that prints), and not at all once the reader has been seen to stall.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque

from tfguard import files, threads
from tfguard.text import unobeyed, valid

#: How long a reader may hold up who has something to say, in seconds.
PATIENCE_SECONDS = 0.5
#: How long, before we leave, a reader may take nothing of what is still to be said.
FAREWELL_SECONDS = 2.0
#: So much waits for a reader who does not read; what is said beyond it is lost, and that is said.
_KEPT_BYTES = 1024 * 1024


class Outlet:
    """One descriptor. Made by `outlet`, one for each, so that all that is written there is in order."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._kept = 0
        self._lost = 0
        self._written = 0
        self._asked = 0
        self._error: OSError | None = None
        self._is_stalled = False
        self._thread: threading.Thread | None = None

    def say(self, data: bytes) -> None:
        """Have it written, whatever has become of the reader: never an error, and never a long wait."""
        with self._changed:
            if self._kept + len(data) > _KEPT_BYTES:
                self._lost += len(data)
                return
            if self._lost:
                data = b"tfguard: %d bytes were not read in time, and are lost\n" % self._lost + data
                self._lost = 0
            mine = self._put(data)
            if not self._is_stalled:
                self._is_stalled = not self._changed.wait_for(lambda: self._written >= mine, PATIENCE_SECONDS)

    def write(self, data: bytes) -> None:
        """Have it written, and return when it is, however long its reader takes. Raises OSError if nobody reads."""
        with self._changed:
            mine = self._put(data)
            self._changed.wait_for(lambda: self._written >= mine)
            if self._error is not None:
                raise self._error

    def flush(self, patience_seconds: float = FAREWELL_SECONDS) -> None:
        """Wait for what is still to be written, as long as its reader takes some of it."""
        with self._changed:
            while self._written < self._asked and self._advances(patience_seconds):
                pass

    def _advances(self, patience_seconds: float) -> bool:
        before = self._written
        return self._changed.wait_for(lambda: self._written > before, patience_seconds)

    def _put(self, data: bytes) -> int:
        self._asked += 1
        self._kept += len(data)
        self._waiting.append(data)
        if self._thread is None:
            self._thread = threads.start(f"outlet-{self._descriptor}", self._drain, on_defect=self._do_without_thread)
        self._changed.notify_all()
        return self._asked

    def _drain(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # Signals are for who hears them.
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            error = self._write(data)
            with self._changed:
                self._error = error
                self._kept -= len(data)
                self._written += 1
                self._is_stalled = self._is_stalled and bool(self._waiting)
                self._changed.notify_all()

    def _do_without_thread(self, defect: BaseException) -> None:
        """What waited is lost, as if nobody had read it, and whoever waits for it is told; the next starts another."""
        with self._changed:
            self._thread = None
            self._error = OSError(f"{type(defect).__name__}: {defect}")
            self._waiting.clear()
            self._kept = 0
            self._written = self._asked
            self._changed.notify_all()

    def _write(self, data: bytes) -> OSError | None:
        try:
            files.write_all(self._descriptor, data)
        except OSError as error:
            return error
        return None


_outlets: dict[int, Outlet] = {}
_making = threading.Lock()


def outlet(descriptor: int) -> Outlet:
    """The outlet of this descriptor."""
    with _making:
        return _outlets.setdefault(descriptor, Outlet(descriptor))


def flush() -> None:
    """Before this process ends, or becomes another: let what was said be read."""
    for each in list(_outlets.values()):
        each.flush()


def write_to_stderr(text: str) -> None:
    """Say this to whoever reads stderr, whatever has become of it: never an error. No CI's runner obeys it."""
    outlet(2).say(valid(unobeyed(text)).encode())


def write_answer(text: str, end: str = "\n", *, is_awaited: bool = False) -> None:
    """Write what was asked for to stdout, at once if somebody waits for it. No CI's runner obeys it. Raises OSError."""
    print(unobeyed(text), end=end, flush=is_awaited)  # noqa: T201 - the one place


def _forget() -> None:
    _outlets.clear()


os.register_at_fork(after_in_child=_forget)
