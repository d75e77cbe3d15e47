"""How a holder comes to know the lock that its child has taken by itself: see `guarded`."""

from __future__ import annotations

from collections.abc import Sequence

from tfguard.errors import TfguardError
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.lease import HeldLock
from tfguard.lock.store import Store

#: Between two looks for a lock of the child's that is not known yet, in seconds.
LEARN_SECONDS = 1.0


class InnerWatch:
    """
    What a holder knows of the lock that its child has taken by itself; of a lock that is ours alone, nothing.

    `learn` looks: every `LEARN_SECONDS` until the lock is known, then with each heartbeat, for a child may have one
    lock after another.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self._store = next((store for store in stores if isinstance(store, GuardedStore)), None)
        self._is_known = False

    @property
    def is_on(self) -> bool:
        """Whether there is an inner lock at all."""
        return self._store is not None

    def pause(self, seconds: float | None) -> float | None:
        """How long to rest, of so many seconds until the next heartbeat."""
        if self._store is None or seconds is None or self._is_known:
            return seconds
        return min(seconds, LEARN_SECONDS)

    def learn(self, lock: HeldLock) -> str | None:
        """Look, and return what our record is to name from now on; None if it says so already, or nobody answers."""
        if self._store is None:
            return None
        record = lock.leases[0].record
        try:
            found = self._store.find_inner(record)
        except TfguardError:
            return None
        self._is_known = bool(found)
        return found if found and record.lease is not None and found != record.lease.inner else None

    def free(self, lock: HeldLock) -> None:
        """Free what a child of ours, or of the dead holder before us, has left behind. Raises as a store does."""
        if self._store is not None:
            self._store.free_inner(lock.leases[0].record)
            self._is_known = False
