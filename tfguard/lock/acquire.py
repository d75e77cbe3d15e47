"""Taking a lock: look, watch, and take it where it is free or its lease has expired."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from tfguard.clock import Clock, boot_id, created, own_mark, parse_created
from tfguard.errors import Conflict, StoreUnavailable, TfguardError
from tfguard.lock.lease import _AGAIN, HeldLease, HeldLock
from tfguard.lock.lockinfo import LockInfo, new_lock_id
from tfguard.lock.protocol import TakeoverPolicy
from tfguard.lock.store import Holder, Lease, LockRecord, Store


class Busy(Exception):
    """
    Not ours this time. `record` is what stood in the way, None if it vanished again.

    `is_expired`: its lease has run out, and only our takeover policy keeps us from taking it. `is_free`: it could be
    had, and is left to somebody else whose turn it is.
    """

    def __init__(self, record: LockRecord | None, *, is_expired: bool = False, is_free: bool = False) -> None:
        super().__init__(record.id if record else "gone again")
        self.record = record
        self.is_expired = is_expired
        self.is_free = is_free


class Draft(msgspec.Struct, frozen=True):
    """What we write when we take a lock. `info.id` and `info.created` are filled in per attempt."""

    info: LockInfo
    holder: Holder
    duration_ms: int
    is_changing: bool
    hold_until: str = ""
    reason: str = ""

    def record(self, lock_id: str, clock: Clock, *, leased: bool) -> LockRecord:
        """Build the record for a new acquisition, at beat 0."""
        info = msgspec.structs.replace(self.info, id=lock_id, created=created(clock.now()))
        lease = Lease(
            beat=0,
            duration_ms=self.duration_ms,
            holder=self.holder,
            is_changing=self.is_changing,
            boot=boot_id(),
            sender=own_mark(),
            sent=clock.boottime(),
            beaten_at=created(clock.now()),
            hold_until=self.hold_until,
            reason=self.reason,
        )
        return LockRecord(text=info.encode(), info=info, lease=lease if leased else None)


class Watch:
    """A waiter's view of one record: what it showed, and since when by the waiter's own clock."""

    def __init__(self) -> None:
        self.record: LockRecord | None = None
        self.since = 0.0
        self._is_over = False

    def see(self, record: LockRecord | None, answered_at: float, date: datetime | None = None) -> None:
        """Note what an answer of that `date` showed. `answered_at` is the instant *after* it, never before we asked."""
        if _sight(record) != _sight(self.record):
            self.since = answered_at
        self.record, self._is_over = record, hold_has_ended(record, date)

    def is_expired(self, now: float) -> bool:
        """Whether one full lease of the record has passed without change."""
        return self.record is not None and self.expires_in(now) <= 0

    def expires_in(self, now: float) -> float:
        """Seconds until the record may be taken over if it does not change; inf if never."""
        lease = self.record.lease if self.record else None
        if lease is None or lease.hold_until or self.record is None or self.record.info is None:
            return 0.0 if self._is_over else float("inf")
        return self.since + lease.seconds - now


def _sight(record: LockRecord | None) -> tuple[str, int] | None:
    return (record.text, record.beat) if record else None


class Acquirer:
    """
    One process trying to get one lock, again and again.

    `on_trying` hears the lock ID, and the instant, before it is written, so that a successor can look for it. Every
    takeover uses a fresh ID; an ID of ours whose write we never heard of is cleared away when it turns up.
    `may_try` is asked before the first record is written: whether it is our turn.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        draft: Draft,
        clock: Clock,
        *,
        policy: TakeoverPolicy = "always",
        on_trying: Callable[[str, float], None] = lambda lock_id, base: None,
        may_try: Callable[[], bool] = lambda: True,
    ) -> None:
        self.watches = [Watch() for _ in stores]
        self._stores = stores
        self._draft = draft
        self._clock = clock
        self._policy = policy
        self._on_trying = on_trying
        self._may_try = may_try
        self._id = new_lock_id()
        self._sent: dict[tuple[int, str], float] = {}
        self._dead: dict[tuple[int, str], LockRecord | None] = {}
        self._doubtful: int | None = None
        #: From whom we had taken half a lock that we gave back since: if nobody else comes, it is told with the next.
        self._given_back: LockRecord | None = None

    def recall(self, lock_id: str, base: float) -> None:
        """
        Know of a dead predecessor's attempt: it may have written `lock_id`, at `base` at the earliest.

        What it left is cleared away and never taken up: a delete of its own may still be under way to that ID.
        """
        for index in range(len(self._stores)):
            self._sent[index, lock_id] = base

    def try_acquire(self) -> HeldLock:
        """
        Try once, with one read per store, and a write only where it may succeed.

        Raises:
            Busy: Somebody else holds it; what we had taken of it is given back.

            StoreUnavailable, StoreDenied, StoreMisconfigured: As the store says.
        """
        self._doubtful = None
        for index in range(len(self._stores)):
            if self._must_look(index):
                self._look(index)
        held: list[HeldLease] = []
        try:
            for index in range(len(self._stores)):
                self._check_free(index)
            for index in range(len(self._stores)):
                held.append(self._try_store(index))
        except (Busy, TfguardError):
            self._undo(held or self._leftovers())
            raise
        held[0].dead = next((lease.dead for lease in held if lease.dead), self._given_back)
        return HeldLock(held)

    def _leftovers(self) -> list[HeldLease]:
        """What the last look showed to be ours, though we gave up on it or never heard of it."""
        return [
            HeldLease(store, watch.record, 0.0, self._clock)
            for index, (store, watch) in enumerate(zip(self._stores, self.watches))
            if watch.record is not None and (index, watch.record.id) in self._sent
        ]

    def _undo(self, held: list[HeldLease]) -> None:
        """Give back half a lock. What cannot be deleted now is found and cleared in a later round."""
        self._given_back = next((lease.dead for lease in held if lease.dead), self._given_back)
        if self._doubtful is not None and self._stores[self._doubtful].needs_guard:
            return  # It may be ours, and nobody else could tell that it is dead: the guard stays, under the same ID.
        for lease in reversed(held):
            try:
                lease.release()
            except TfguardError:
                if lease.is_guarded:
                    break  # Its guard stays, for it tells who is dead.
        if held:
            # A delete whose answer was lost may still land: it must not meet our next attempt under the same ID.
            self._id = new_lock_id()

    def is_ours(self, record: LockRecord) -> bool:
        """Whether we have ever tried to write this record's ID."""
        return any(lock_id == record.id for _, lock_id in self._sent)

    def withdraw(self) -> None:
        """Clear away whatever a write with a lost answer may have left. For giving up; raises as the store does."""
        for index, store in reversed([*enumerate(self._stores)]):
            record = store.read() if any(at == index for at, _ in self._sent) else None
            if record is not None and self.is_ours(record):
                HeldLease(store, record, 0.0, self._clock).release()

    def _try_store(self, index: int) -> HeldLease:
        for attempt in range(_AGAIN):
            record = self._look(index) if attempt else self.watches[index].record
            if record is None:
                lease = self._try_write(index, None)
            elif (index, record.id) in self._sent:
                lease = self._recognise(index, record)
            else:
                self._check_free(index)
                lease = self._try_write(index, record)
            if lease is not None:
                return lease
        # Our own stale write keeps reappearing: report the lock as free, not as held.
        record = self.watches[index].record
        raise Busy(None if record is not None and self.is_ours(record) else record)

    # --- a lock that has its lease in a guard ---------------------------------------------------------------------

    def _must_look(self, index: int) -> bool:
        """
        Whether a look at this store decides anything.

        To look at a lock that has no room for a lease may mean to take it for an instant. So that is left out where
        nobody was seen to hold it, unless a dead run, or we, may have left it behind.
        """
        if index == 0 or not self._stores[index].needs_guard:
            return True
        is_known = self.watches[index].record is not None or any(at == index for at, _ in self._sent)
        return is_known or self.watches[0].is_expired(self._clock.boottime())

    def _dies_with_guard(self, index: int, record: LockRecord) -> bool:
        """Whether it bears the ID of a guard whose lease has expired, or that is ours."""
        guard = self.watches[0].record
        is_pair = self._stores[index].needs_guard and guard is not None and guard.id == record.id
        return is_pair and (self.watches[0].is_expired(self._clock.boottime()) or self.is_ours(record))

    def _bury(self, index: int, guard: LockRecord) -> None:
        """
        Free what this guard, at `index`, was for, before the guard goes: nobody could tell afterwards that it is dead.

        Should its holder live after all, it finds its lock gone at its next heartbeat, and stops. Raises as a store
        does; then the guard has to stay.
        """
        for at, store in enumerate(self._stores):
            record = self.watches[at].record
            if at != index and store.needs_guard and record is not None and record.id == guard.id:
                with contextlib.suppress(Conflict):
                    store.delete(record)
                self.watches[at] = Watch()

    def _look(self, index: int) -> LockRecord | None:
        store = self._stores[index]
        record = store.read()
        self.watches[index].see(record, self._clock.boottime(), store.date)
        return record

    def _recognise(self, index: int, record: LockRecord) -> HeldLease | None:
        """Our own write, whose answer was lost: it is ours, counted from before it was first sent."""
        lease = HeldLease(self._stores[index], record, self._sent[index, record.id], self._clock)
        if record.id == self._id:
            return self._taken(lease, self._dead.get((index, record.id)))
        self._bury(index, record)
        lease.release()
        return None

    def _check_free(self, index: int) -> None:
        """Raise Busy unless the record is absent, ours, or expired and ours to take."""
        record = self.watches[index].record
        if record is None or (index, record.id) in self._sent or self._dies_with_guard(index, record):
            return
        if not self.watches[index].is_expired(self._clock.boottime()):
            self._given_back = None
            raise Busy(record)
        if not may_take_over(self._policy, record, is_changing=self._draft.is_changing):
            raise Busy(record, is_expired=True)

    def _try_write(self, index: int, seen: LockRecord | None) -> HeldLease | None:
        """Create, or replace what was seen; None if the condition failed and it is worth another look."""
        if index == 0 and not self._may_try():
            raise Busy(seen, is_free=True)
        if seen is not None and index == 0:
            self._id = new_lock_id()
            self._bury(index, seen)
        store = self._stores[index]
        sent_at = self._clock.boottime()  # Never after what the record says: a successor compares the two.
        record = self._draft.record(self._id, self._clock, leased=store.has_leases)
        self._sent.setdefault((index, self._id), sent_at)
        self._on_trying(self._id, min(at for (_, lock_id), at in self._sent.items() if lock_id == self._id))
        self._dead[index, self._id] = seen
        try:
            stored = store.replace(seen, record) if seen else store.create(record)
        except Conflict as conflict:
            if conflict.record is not None:
                raise Busy(conflict.record) from conflict
            return self._after_doubt(index, seen)
        except StoreUnavailable:
            lease = self._after_doubt(index, seen)
            if lease is None:
                raise
            return lease
        return self._taken(HeldLease(store, stored, sent_at, self._clock), seen)

    def _after_doubt(self, index: int, seen: LockRecord | None) -> HeldLease | None:
        self._doubtful = index
        record = self._look(index)
        self._doubtful = None
        if record is None or record.id != self._id:
            return None
        base = self._sent[index, self._id]
        return self._taken(HeldLease(self._stores[index], record, base, self._clock), seen)

    @staticmethod
    def _taken(lease: HeldLease, seen: LockRecord | None) -> HeldLease:
        lease.dead = seen
        return lease


#: A hold is over when the store's own clock is so far past its end.
HOLD_GRACE = timedelta(minutes=1)


def may_take_over(policy: TakeoverPolicy, dead: LockRecord, *, is_changing: bool) -> bool:
    """Whether `policy` lets a run (that may change things, or not) take an expired lock, or a hold that has ended."""
    if dead.lease and dead.lease.hold_until:
        return True  # Nobody has died: the hold itself says when it ends.
    if policy == "plan-only":
        return not is_changing or not (dead.lease and dead.lease.is_changing)
    return policy == "always"


def hold_has_ended(record: LockRecord | None, answered_at: datetime | None) -> bool:
    """
    Whether a lock held by hand is past its end, by the `Date` of the very answer that showed it.

    The one place where a wall clock is compared: the store's, never ours, and no child runs under a hold. A record
    that is no hold, an end that cannot be read and a store that tells no time have not ended.
    """
    lease = record.lease if record else None
    ends_at = parse_created(lease.hold_until) if lease else None
    return ends_at is not None and answered_at is not None and answered_at - HOLD_GRACE >= ends_at
