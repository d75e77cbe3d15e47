"""The keeper as the front knows it: a process, the channel to it, and how often it had to be replaced."""

from __future__ import annotations

import os
import selectors
from collections.abc import Mapping

from tfguard.guard import messages
from tfguard.lock import protocol
from tfguard.process import channel, family, launch

#: So many successors a front starts; when the last one dies, nobody takes its place.
MAX_RESTARTS = 2
_MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own in it  # nosec B108


class KeeperLink:
    """
    One keeper after another, the first of them started at once.

    `lock_fd` is the descriptor of a local lock that a keeper has taken, -1 if there is none: it is handed on.
    """

    def __init__(
        self, environ: Mapping[str, str], selector: selectors.BaseSelector, *, shares_terminal: bool = False
    ) -> None:
        self.lock_fd = -1
        self._group = os.getpgrp() if shares_terminal else 0
        self._environ = launch.without_tracking(environ)
        self._selector = selector
        self._restarts = 0
        self._start()

    def _start(self) -> None:
        launched = launch.take(self._environ)
        self._process = launched.process
        self._cpu_ticks = 0
        self.page = launched.page
        self.page.front, self.page.group = os.getpid(), self._group
        self.channel = channel.front_end(launched.socket)
        self._selector.register(self.channel, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_last(self) -> bool:
        """Whether nobody would take the place of this keeper."""
        return self._restarts >= MAX_RESTARTS

    def send(self, message: messages.ToKeeper, descriptors: list[int] | None = None) -> None:
        """Send it a message; one that is dead hears nothing, and that is no error."""
        self.channel.send(message, descriptors)

    def flush(self) -> None:
        """Send what it had no room for, as far as it has some now."""
        self.channel.flush()

    def hand_over(self, message: messages.Acquire | messages.Adopt) -> None:
        """Tell a successor what to go on with, and give it the local lock."""
        self.send(message, [self.lock_fd] if self.lock_fd >= 0 else None)

    def receive(self) -> list[messages.ToFront]:
        """Receive what it has said, and keep the descriptor of what carries the lock if one came with it."""
        heard = self.channel.receive()
        for message in heard:
            if isinstance(message, (protocol.Held, protocol.Retaken)):
                self._take_lock_fd()
        return heard

    def _take_lock_fd(self) -> None:
        for descriptor in self.channel.take_descriptors(1):
            self._close_lock_fd()
            self.lock_fd = descriptor

    def _close_lock_fd(self) -> None:
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def bury(self) -> None:
        """It has closed its end: it is dead, or of no use any more (stopped on its way out, it would never go)."""
        self._selector.unregister(self.channel)
        self.channel.close()
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start a successor of the one that was buried."""
        self._restarts += 1
        self._start()

    def begin_anew(self) -> None:
        """Leave a keeper that has released its lock, and start one for another lock: it is no successor."""
        if self.channel.is_open:
            self.bury()
        self._close_lock_fd()
        self._start()

    def has_worked(self) -> bool:
        """Whether it has, since this was asked last: one that is slow to start works, one that was stopped does not."""
        found = family.stat(self._process.pid)
        before, self._cpu_ticks = self._cpu_ticks, found.cpu_ticks if found else 0
        return self._cpu_ticks != before

    @property
    def is_dead_unheard(self) -> bool:
        """Whether it has ended, and its end of the channel has not: whom it was about to start still holds that."""
        return self.channel.is_open and self._process.poll() is not None

    def kill_frozen(self) -> None:
        """End a keeper that says nothing any more, so that another can take its place."""
        if self._process.poll() is None:
            self._process.kill()

    def end(self) -> None:
        """End it at once, with nothing left for it to do."""
        self.leave(is_busy=False)
        self._process.kill()
        self._process.wait()

    # --- the run's folder ---------------------------------------------------------------------------------------

    def folder(self) -> str:
        """Return a folder that only we can enter; the last of ours to leave removes it. Raises OSError."""
        if not self.page.folder:
            import tempfile  # Slow to import.

            try:
                self.page.folder = tempfile.mkdtemp(prefix="tfguard-")
            except OSError:  # A container with a read-only root: there still is memory.
                self.page.folder = tempfile.mkdtemp(prefix="tfguard-", dir=_MEMORY)
        return self.page.folder

    def leave(self, *, is_busy: bool) -> None:
        """The front leaves. A keeper that is busy goes on alone, and is the one who needs the run's folder then."""
        self.page.front = 0
        if not is_busy:
            self.page.remove_folder()
        self.channel.close()
