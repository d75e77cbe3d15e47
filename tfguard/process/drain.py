"""
The read ends of the child's pipes, kept by the keeper in case the front stops reading them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import struct
import termios
from collections.abc import Callable

from tfguard.process.words import Ear

#: After a stop was asked: a front that relays nothing for this long, though there is something, has frozen.
RELAY_SILENCE_SECONDS = 5.0
_CHUNK = 65536


class Drain:
    """
    The read end of one of the child's pipes, which the front relays.

    If the front is gone or frozen, the child would block on a full pipe, or die of SIGPIPE at its next message: we
    drain it then, so that it can still stop cleanly. `keep` gets what is read; `on_interrupt_heard` is called
    when it says "Interrupt received".
    """

    def __init__(
        self, descriptor: int, keep: Callable[[bytes], object], on_interrupt_heard: Callable[[], None]
    ) -> None:
        self._descriptor = descriptor
        self._keep = keep
        self._ear = Ear()
        self._on_interrupt_heard = on_interrupt_heard
        self._pending = 0
        self._since: float | None = None
        self._is_ours = False

    def fileno(self) -> int:
        return self._descriptor

    def watch_from(self, now: float) -> None:
        """Start to watch whether the front still reads."""
        self._since = self._since or now

    def take_over_if_stuck(self, now: float, selector: selectors.BaseSelector) -> None:
        if self._since is None or self._is_ours:
            return
        pending = self._unread()
        if pending == 0 or pending != self._pending:
            self._pending, self._since = pending, now
        elif now - self._since >= RELAY_SILENCE_SECONDS:
            self.take_over(selector)

    def take_over(self, selector: selectors.BaseSelector) -> None:
        if not self._is_ours:
            self._is_ours = True
            selector.register(self, selectors.EVENT_READ)

    def drain(self, selector: selectors.BaseSelector) -> None:
        """Read once; at the end of the pipe there is nothing left to watch."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, _CHUNK)
            self._keep(data)
            if self._ear.hears(data):
                self._on_interrupt_heard()
            if not data:
                selector.unregister(self)
                self._is_ours = False
                self._since = None

    def close(self, selector: selectors.BaseSelector) -> None:
        if self._is_ours:
            selector.unregister(self)
        os.close(self._descriptor)

    def _unread(self) -> int:
        answer = fcntl.ioctl(self._descriptor, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])
