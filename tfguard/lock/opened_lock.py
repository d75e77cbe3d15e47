"""
What an operator does with a lock by hand: look at it, hold it, and unlock it.

Nothing here waits. A deletion is conditional on exactly the record that was shown: if the lock has changed hands
in between, nothing is done. Unlocking the lock of a living run is possible by force alone; that run notices at its
next heartbeat and ends, and until then two may write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tfguard.clock import Clock, SystemClock
from tfguard.errors import Conflict, TfguardError
from tfguard.lock import queue_record
from tfguard.lock.acquire import Acquirer, Busy, Draft
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.lockinfo import LockInfo, new_lock_id
from tfguard.lock.store import Holder, LockRecord, QueueRecord, Store, queue_store
from tfguard.lock.verdicts import exact_silence_seconds
from tfguard.lock.waiting import prove

#: Between two looks at a lock that is being watched, in seconds.
LOOK_SECONDS = 1.0
_TRIES = 4
_SCRATCH_LEASE_MS = 180_000


@dataclass(frozen=True)
class Seen:
    """One record of a lock, and where it stands. A lock of two stores has two. `is_guarded`: as `Store.needs_guard`."""

    record: LockRecord
    place: str
    has_leases: bool
    index: int
    is_guarded: bool = False


def without_repetitions(seen: list[Seen]) -> list[Seen]:
    """Leave out what only repeats its guard: it says less, and lives and dies with that."""
    guards = {each.record.id for each in seen if not each.is_guarded}
    return [each for each in seen if not (each.is_guarded and each.record.id in guards)]


class Changed(Exception):
    """The lock is not what was shown any more. `seen` is what it is now, empty if free."""

    def __init__(self, seen: list[Seen]) -> None:
        super().__init__("the lock has changed")
        self.seen = seen


class OpenedLock:
    """
    The stores of one lock, which it closes. Every method raises what `Store` raises.

    `deadlines` gives those of a lease on this lock, by its length in seconds; None where there are no leases.
    """

    def __init__(self, stores: Sequence[Store], deadlines: Callable[[float], Deadlines | None]) -> None:
        self._stores = stores
        self._deadlines = deadlines

    def close(self) -> None:
        for store in self._stores:
            with contextlib.suppress(Exception):
                store.close()

    def read(self) -> list[Seen]:
        """Return the records there are, in the order in which they are taken; none where the lock is free."""
        found = []
        for index, store in enumerate(self._stores):
            record = store.read()
            if record is not None:
                found.append(Seen(record, store.place, store.has_leases, index, store.needs_guard))
        return found

    @property
    def places(self) -> list[str]:
        """Where the lock lives, for people."""
        return [store.place for store in self._stores]

    @property
    def date(self) -> datetime | None:
        """What the store's own clock said with its last answer; None where it tells no time."""
        return queue_store(self._stores).date

    def take(self, draft: Draft, clock: Clock) -> str:
        """Take the lock and leave it taken, without a heartbeat; return its ID. Raises Busy at once."""
        acquirer = Acquirer(self._stores, draft, clock)
        try:
            lock = acquirer.try_acquire()
        except BaseException:
            with contextlib.suppress(TfguardError):
                acquirer.withdraw()
            raise
        prove(lock)
        try:
            self.keep_terraform_out()
        except BaseException:
            with contextlib.suppress(TfguardError):
                lock.release()
            raise
        return lock.id

    def keep_terraform_out(self) -> None:
        """
        Take Terraform's own lock too, where our record stands beside it: for a lock that no child is to take.

        Raises Busy where somebody has it.
        """
        for store in self._stores:
            if not isinstance(store, GuardedStore) or (record := store.read()) is None:
                continue
            try:
                store.take_inner(record)
            except Conflict as conflict:
                raise Busy(conflict.record) from conflict

    def credentials_expire_at(self) -> datetime | None:
        """When the first of the credentials at hand end; None if they do not, or nobody knows."""
        return min((at for store in self._stores if (at := store.credentials_expire_at()) is not None), default=None)

    def history(self) -> queue_record.QueueState:
        """The queue record; an empty one where it cannot be had, for it is advisory."""
        with contextlib.suppress(TfguardError):
            return self.read_history()
        return queue_record.QueueState()

    def read_history(self) -> queue_record.QueueState:
        """The queue record, an empty one where there is none. Raises where it cannot be had."""
        seen = queue_store(self._stores).read_queue()
        return queue_record.decode(seen.text) if seen is not None else queue_record.QueueState()

    def add_run(self, run: queue_record.Run) -> bool:
        """Add to the history; return whether it was written."""
        store = queue_store(self._stores)
        for _ in range(_TRIES):
            try:
                seen = store.read_queue()
                state = (queue_record.decode(seen.text) if seen else queue_record.QueueState()).with_run(run)
                revision = (seen.revision if seen else 0) + 1
                store.write_queue(seen, QueueRecord(text=queue_record.encode(state), revision=revision))
            except Conflict:
                continue
            except TfguardError:
                return False
            return True
        return False

    def heartbeat_seconds(self, record: LockRecord) -> float:
        """How often its holder beats; 0 where nobody does."""
        assert record.lease is not None
        deadlines = self._deadlines(record.lease.seconds)
        return deadlines.heartbeat if deadlines else 0.0

    def remove(self, shown: list[Seen], *, even_if_alive: bool = False) -> None:
        """
        Delete the records that were shown, if each is still the same; a heartbeat is a change, unless `even_if_alive`.

        Raises:
            Changed: The lock is another one now, or gone, or has beaten; nothing, or not all, was deleted.
        """
        now = {seen.index: seen for seen in self.read()}
        for seen in shown:
            if not _is_same(seen, now.get(seen.index), even_if_alive=even_if_alive):
                raise Changed(list(now.values()))
        # What needs a guard first: alone it would never die.
        for seen in sorted(shown, key=lambda seen: not self._stores[seen.index].needs_guard):
            self._delete(now[seen.index], even_if_alive=even_if_alive)

    def _delete(self, seen: Seen, *, even_if_alive: bool) -> None:
        store, record = self._stores[seen.index], seen.record
        for _ in range(_TRIES):
            try:
                store.delete(record)
            except Conflict:
                found = store.read()
                is_beaten = found is not None and found.text == record.text
                if found is None or not is_beaten or not even_if_alive:
                    raise Changed(self.read()) from None
                record = found
            else:
                return
        raise Changed(self.read())


class Openable(Protocol):
    """A lock whose stores can be opened: `backends.target.Target`."""

    def open(self) -> Sequence[Store]:
        """Open every store, or none."""
        ...

    def deadlines(self, lease_seconds: float) -> Deadlines | None:
        """Return the deadlines of such a lease, None where there are no leases."""
        ...


@contextlib.contextmanager
def opened(target: Openable) -> Iterator[OpenedLock]:
    """Open a lock's stores for a while. Raises as opening does."""
    with contextlib.closing(OpenedLock(target.open(), target.deadlines)) as lock:
        yield lock


def try_writing(store: Store) -> None:
    """
    Create, replace and delete a record in a store that nobody else uses.

    Raises StoreMisconfigured too where a server ignores the conditions of writes.
    """
    clock = SystemClock()
    info = LockInfo(id="", operation="doctor", info="a scratch record of tfguard doctor")
    draft = Draft(info, Holder(who="tfguard doctor"), duration_ms=_SCRATCH_LEASE_MS, is_changing=False)
    first, second = (draft.record(new_lock_id(), clock, leased=True) for _ in range(2))
    stored = store.replace(store.create(first), second)
    store.delete(stored)
    store.prove_conditional(stored)


def watch_seconds(lock: OpenedLock, seen: list[Seen]) -> float:
    """How long a holder must be silent before it is not taken for alive: two heartbeats, and a hiccup."""
    beats = [lock.heartbeat_seconds(each.record) for each in seen if _has_heartbeat(each)]
    return 2.2 * max(beats) + 1.0 if beats else 0.0


def is_silent(
    lock: OpenedLock,
    shown: list[Seen],
    clock: Clock,
    *,
    for_seconds: float,
    patience_seconds: float = float("inf"),
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """
    Watch a lock until a heartbeat shows, or none has for so long; False too when patience ends before.

    The time counts from the look that gave `shown`, by our own clock; what this very boot of the machine has written
    tells its own age, and may make watching needless.

    Raises:
        Changed: It is not the lock that was shown any more.
    """
    started_at = clock.boottime()
    while True:
        left = max((_left(each, clock, started_at, for_seconds) for each in shown), default=0.0)
        if left <= 0:
            return True
        if clock.boottime() - started_at >= patience_seconds:
            return False
        pause(min(left, LOOK_SECONDS))
        now = lock.read()
        if [each.record.text for each in now] != [each.record.text for each in shown]:
            raise Changed(now)
        if [each.record.beat for each in now] != [each.record.beat for each in shown]:
            return False


def _left(seen: Seen, clock: Clock, started_at: float, for_seconds: float) -> float:
    if not _has_heartbeat(seen):
        return 0.0
    exact = exact_silence_seconds(seen.record, clock)
    return for_seconds - max(exact or 0.0, clock.boottime() - started_at)


def _has_heartbeat(seen: Seen) -> bool:
    lease = seen.record.lease
    return lease is not None and not lease.hold_until


def _is_same(shown: Seen, now: Seen | None, *, even_if_alive: bool) -> bool:
    if now is None or now.record.text != shown.record.text:
        return False
    return even_if_alive or now.record.beat == shown.record.beat
