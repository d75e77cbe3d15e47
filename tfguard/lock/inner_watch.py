"""How a holder comes to know the lock that its child has taken by itself: see `guarded`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tfguard.errors import StoreDenied, StoreUnavailable, TfguardError
from tfguard.lock.guarded import IMPLICIT, GuardedStore
from tfguard.lock.lease import HeldLock
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Store

#: Between two looks for a lock of the child's that is not known yet, in seconds.
LEARN_SECONDS = 1.0
#: And once it is known.
AGAIN_SECONDS = 5.0
#: To make a state takes three requests more once it is there: who is seen at it so often has forgotten its lock.
FORGOTTEN_LOOKS = 5


class InnerWatch:
    """
    What a holder knows of the lock that its child has taken by itself; of a lock that is ours alone, nothing.

    `learn` looks: every `LEARN_SECONDS` until the lock is known, then more rarely, for a child may have one lock after
    another. `is_to_be_freed`: the child is gone, and what it may have left is freed at the next look. `may_be_left`:
    whether a release is to free what looks like the child's; not where no child has run, or it has ended by itself.
    A lock that the child has forgotten is freed all the same, by `learn` or before a release by `clear_forgotten`.
    """

    def __init__(self, stores: Sequence[Store] = (), *, may_be_left: bool = False) -> None:
        self._store: GuardedStore | None = None
        self._is_known = False
        self._making = ("", 0)
        self.is_to_be_freed = False
        self.begin(stores, may_be_left=may_be_left)

    def begin(self, stores: Sequence[Store], *, may_be_left: bool) -> None:
        """The stores are open. What was asked for before is not forgotten."""
        self._store = next((store for store in stores if isinstance(store, GuardedStore)), None)
        self.may_be_left = may_be_left

    @property
    def is_on(self) -> bool:
        """Whether there is an inner lock at all."""
        return self._store is not None

    @property
    def may_be_left(self) -> bool:
        return self._store is not None and self._store.may_be_left

    @may_be_left.setter
    def may_be_left(self, value: bool) -> None:
        if self._store is not None:
            self._store.may_be_left = value

    def pause(self, seconds: float | None) -> float | None:
        """How long to rest, of so many seconds until the next heartbeat."""
        if self._store is None or seconds is None:
            return seconds
        return min(seconds, AGAIN_SECONDS if self._is_known else LEARN_SECONDS)

    def learn(self, lock: HeldLock) -> str | None:
        """Look, and return what our record is to name from now on; None if it says so already, or nobody answers."""
        if self._store is None:
            return None
        record = lock.leases[0].record
        try:
            if self.is_to_be_freed:
                self._free(self._store, lock)
                return None
            found = self._store.find_inner(record)
            self._watch_making(self._store, found)
        except TfguardError:
            return None
        self._is_known = found is not None and found.operation != IMPLICIT
        return found.id if found and record.lease is not None and found.id != record.lease.inner else None

    def clear_forgotten(self, lock: HeldLock, sleep: Callable[[float], None]) -> None:
        """Before a release that frees no lock by its looks: free what the child has forgotten."""
        with contextlib.suppress(TfguardError):
            for _ in range(FORGOTTEN_LOOKS):
                if self._store is None or self.may_be_left:
                    return
                self._watch_making(self._store, self._store.find_inner(lock.leases[0].record))
                if not self._making[1]:
                    return
                sleep(LEARN_SECONDS)

    def _watch_making(self, store: GuardedStore, found: LockInfo | None) -> None:
        """Count for how many looks a state is being made under the same lock; free one that is forgotten."""
        if found is None or found.operation != IMPLICIT:
            self._making = ("", 0)
            return
        lock_id, looks = self._making
        self._making = (found.id, looks + 1 if found.id == lock_id else 1)
        if self._making[1] >= FORGOTTEN_LOOKS:
            self._making = ("", 0)
            store.free_forgotten(found)

    def clear_after_dead(self, lock: HeldLock) -> None:
        """Free what the dead holder before us has left, and name it no more. Raises as a store does."""
        if self._store is not None:
            self._free(self._store, lock)
            with contextlib.suppress(StoreUnavailable, StoreDenied):
                lock.renew(inner="")

    def _free(self, store: GuardedStore, lock: HeldLock) -> None:
        store.free_inner(lock.leases[0].record)
        self._is_known = self.is_to_be_freed = False
