"""The place for a keeper's sentinels: one is beside the child, always, with a PID above all of Terraform's."""

from __future__ import annotations

import contextlib
import selectors

from tfguard.process import sentinel


class SentinelPost:
    """
    Starts a sentinel before it is needed, and another where one was killed or is no longer the highest.

    `lifeline` is for the sentinels; `selector` serves what they say.
    """

    def __init__(self, lifeline: int, selector: selectors.BaseSelector) -> None:
        self._lifeline = lifeline
        self._selector = selector
        self._sentinel: sentinel.Sentinel | None = None

    def ensure(self) -> sentinel.Sentinel:
        """Return the sentinel, starting it if there is none."""
        if self._sentinel is None:
            self._sentinel = sentinel.Sentinel(self._lifeline)
            self._selector.register(self._sentinel, selectors.EVENT_READ)
        return self._sentinel

    def spare(self) -> None:
        """The child has had its SIGINT."""
        if self._sentinel is not None:
            self._sentinel.spare()

    def forget(self) -> None:
        """The child is gone."""
        if self._sentinel is not None:
            self._sentinel.forget()

    def relieve(self) -> sentinel.Sentinel | None:
        """Make room for another sentinel, and return the one that leaves; `dismiss` it once the other watches."""
        leaving, self._sentinel = self._sentinel, None
        return leaving

    def dismiss(self, leaving: sentinel.Sentinel | None) -> bool:
        """Let a sentinel end. Return whether it had heard that every process is being signalled."""
        if leaving is None:
            return False
        with contextlib.suppress(KeyError):
            self._selector.unregister(leaving)
        return leaving.dismiss()

    def close(self) -> None:
        """Nobody is left to watch."""
        self.dismiss(self.relieve())
