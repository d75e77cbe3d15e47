"""
What a service knows us by, kept fresh by a thread of its own.

It is found once, synchronously, and from then on again before it ends: a request is sent with what is at hand, and
never waits. A heartbeat that waited for credentials would look like a dead store.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Generic, Protocol, TypeVar

from tfguard import threads

#: Between two attempts to refresh, in seconds.
RETRY_SECONDS = 5.0
#: A suspended machine's waits are stretched: look at the clock at least this often.
LOOK_SECONDS = 60.0


class Ending(Protocol):
    """Keys, or a token."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends, UTC; None if it does not, or nobody knows."""
        ...


Found = TypeVar("Found", bound=Ending)


class Fresh(Generic[Found]):
    """One thing that ends, for any number of stores. `find` may take long; `get` and `expires_at` never wait."""

    def __init__(self, find: Callable[[], Found], early_seconds: float) -> None:
        """`early_seconds` before the end it is found anew, or when a third of its life is left, whichever is later."""
        self._find = find
        self._early_seconds = early_seconds
        self._life_seconds = 3600.0
        self._found: Found | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def resolve(self) -> Found:
        """Return what is at hand; find it, if there is nothing yet. Raises as `find` does."""
        with self._lock:
            if self._found is None:
                self._found = self._find_anew()
                if self._found.expires_at is not None:
                    self._start_thread()
            return self._found

    def get(self) -> Found | None:
        """Return what is at hand; None before it was resolved."""
        return self._found

    def expires_at(self) -> datetime | None:
        """When what is at hand ends, UTC; None if it does not, or nobody knows."""
        return self._found.expires_at if self._found else None

    def renew_soon(self) -> None:
        """The service said that it has ended: find it anew, in the background."""
        with self._lock:
            self._start_thread()
        self._wake.set()

    def close(self) -> None:
        """Stop refreshing. What is at hand stays."""
        self._closed.set()
        self._wake.set()

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            # Should it die: the service says when what is at hand has ended, and then another is started.
            self._thread = threads.start("credentials", self._keep_fresh, on_defect=lambda _: None)

    def _keep_fresh(self) -> None:
        while not self._closed.is_set():
            asked = self._wake.wait(min(LOOK_SECONDS, self._seconds_left()))
            if not self._closed.is_set() and (asked or self._seconds_left() <= 0):
                self._wake.clear()
                # Whatever fails leaves the old one in place, good for minutes yet perhaps, and this thread alive.
                with contextlib.suppress(Exception):
                    self._found = self._find_anew()
                # botocore's sessions are cycles, and so quiet a process seldom looks for those by itself: each refresh
                # would leave its connections open.
                gc.collect()
                # However often we are asked: a session that is over is refused at every heartbeat.
                self._closed.wait(RETRY_SECONDS)

    def _find_anew(self) -> Found:
        found = self._find()
        if found.expires_at is not None:
            self._life_seconds = (found.expires_at - datetime.now(timezone.utc)).total_seconds()
        return found

    def _seconds_left(self) -> float:
        """How long until it is time to refresh."""
        expires_at = self.expires_at()
        if expires_at is None:
            return LOOK_SECONDS
        left = (expires_at - datetime.now(timezone.utc)).total_seconds()
        return max(0.0, left - min(self._early_seconds, self._life_seconds / 3))
