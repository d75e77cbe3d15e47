"""The place for a keeper's sentinels: one is beside the child, always, with a PID above all of Terraform's."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Sequence

from tfguard import programs
from tfguard.process import sentinel
from tfguard.process.page import Page


class SentinelPost:
    """
    Starts a sentinel before it is needed, and another where one was killed or is no longer the highest.

    `lifeline` is for the sentinels; `selector` serves what they say. Nothing here waits, and a sentinel that cannot be
    started now (no descriptor, no process is to be had) is tried again at the next look.
    """

    def __init__(self, page: Page, lifeline: int, selector: selectors.BaseSelector) -> None:
        self._page = page
        self._lifeline = lifeline
        self._selector = selector
        self._sentinel: sentinel.Sentinel | None = None
        self._held: Sequence[int] = ()
        #: Those that were dismissed, and until when each may take to go.
        self._leaving: dict[sentinel.Sentinel, float] = {}

    @property
    def pid(self) -> int:
        """Of the sentinel that watches; 0 if there is none."""
        return self._sentinel.pid if self._sentinel is not None else 0

    @property
    def pids(self) -> list[int]:
        """Of all of them, those included that were dismissed and have not gone yet."""
        return [self.pid, *(leaving.pid for leaving in self._leaving)]

    def ensure(self, *, is_forked: bool = False) -> bool:
        """Start the sentinel if there is none, forked or with a Python of its own; return whether there is one."""
        if self._sentinel is None:
            with contextlib.suppress(OSError):
                self._sentinel = sentinel.Sentinel(
                    self._page, self._lifeline, is_forked=is_forked, environ=programs.environment(os.environ)
                )
                self._selector.register(self._sentinel, selectors.EVENT_READ)
                self._sentinel.hold(self._held)
        return self._sentinel is not None

    def hold(self, descriptors: Sequence[int]) -> None:
        """Have it hold these, and none that it held before."""
        self._held = descriptors
        if self._sentinel is not None:
            self._sentinel.hold(descriptors)

    def relieve(self, now: float) -> None:
        """Put another, which has a higher PID, in its place."""
        leaving, self._sentinel = self._sentinel, None
        if not self.ensure():
            self._sentinel = leaving  # A lower one is better than none.
        elif leaving is not None:
            leaving.dismiss()
            self._leaving[leaving] = now + sentinel.GOODBYE_SECONDS

    def hear(self, source: sentinel.Sentinel) -> list[sentinel.Heard]:
        """
        One of them has said something, or has ended. Return which signals it has had.

        One that was killed must not be missing when we are: another takes its place.
        """
        if source is not self._sentinel and source not in self._leaving:
            return []  # It was ready when this look began, and has been let go since.
        if heard := source.heard():
            return heard
        self._selector.unregister(source)
        self._leaving[source] = 0.0  # It has closed its end, so it is of no use any more.
        if source is self._sentinel:
            self._sentinel = None
            self.ensure()
        return []

    def look_after(self, now: float) -> None:
        """Have a sentinel, and let those that were dismissed go: to be called at every look at the clock."""
        self.ensure()
        for leaving, until in list(self._leaving.items()):
            if leaving.has_ended():
                del self._leaving[leaving]
                if leaving in self._selector.get_map():
                    self._selector.unregister(leaving)
                leaving.close()
            elif now >= until:
                leaving.kill()

    def close(self) -> None:
        """Nobody is left to watch, and nobody to see it go: one that somebody has stopped would stay for ever."""
        for each in (*self._leaving, *([self._sentinel] if self._sentinel is not None else [])):
            each.kill()
