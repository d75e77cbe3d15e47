"""
Leases: acquire, renew, expire, take over, release. All the thought about locks is here, once, above the store.

Expiry is judged by change, on one's own clock: a waiter watches (lock ID, beat), and a lease has expired when they
have not changed for one full lease — the record's, not the waiter's — since the answer that first showed them. No
wall clock is ever compared, so clocks may be wrong by any amount; only their rates must agree within a quarter.

After any failed condition or lost answer we read, and believe only what we read: our own ID in the record means that
the record is ours, whatever the answer to the write was.

Not promised: Terraform's state writes carry no fencing token. A holder that lost its lease stops writing in time
only because its keeper freezes it (`watchdog`); requests already sent cannot be recalled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from tfguard.clock import Clock, boot_id
from tfguard.errors import Conflict, LeaseLost, StoreUnavailable, TfguardError
from tfguard.lock.lockinfo import LockInfo, created, new_lock_id
from tfguard.lock.store import Holder, Lease, LockRecord, Store
from tfguard.lock.takeover import TakeoverPolicy, hold_has_ended, may_take_over

#: How a release ended: we deleted it; it was gone already; somebody else's record stood there and was left alone.
ReleaseResult = Literal["released", "gone", "another's"]
#: A lock that vanishes between our write and our read is tried again at once, this often.
_AGAIN = 3


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


@dataclass(frozen=True)
class Draft:
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
        return self.since + lease.duration_ms / 1000 - now


def _sight(record: LockRecord | None) -> tuple[str, int] | None:
    return (record.text, record.beat) if record else None


class HeldLease:
    """
    One record that is ours.

    `base` is the instant before the last heartbeat known to have landed was sent: everything the holder may rely on
    counts from there.
    """

    def __init__(self, store: Store, record: LockRecord, base: float, clock: Clock) -> None:
        self.store = store
        self.record = record
        self.base = base
        self.dead: LockRecord | None = None
        self._clock = clock
        self._sent = {record.beat: base}
        self._next_beat = record.beat + 1
        self._released: ReleaseResult | None = None
        self._may_be_deleted = False

    def skip_beats(self, upto: int) -> None:
        """Never send a beat below `upto`: a predecessor may have, and its answer is lost."""
        self._next_beat = max(self._next_beat, upto)

    def renew(self, *, token: int | None = None) -> bool:
        """
        Write one heartbeat; says whether the lease is now counted from a later instant.

        The store takes it only while the record still carries our lock ID and the beat we last saw, so a heartbeat
        that arrives late, twice or after a takeover is refused, never applied.

        Raises:
            LeaseLost: The record names another holder, or is gone.

            StoreUnavailable, StoreDenied: No answer. The lease may still be ours; `safe_until` decides.
        """
        if self.record.lease is None:
            self.base = self._clock.boottime()
            return True
        before = self.base
        sent_at = self._clock.boottime()
        record = self._next_record(self.record.lease, sent_at, token)
        try:
            self._found(self.store.replace(self.record, record))
        except Conflict:
            self.look()
        except StoreUnavailable:
            self.look()
            if self.base == before:
                raise
        return self.base > before

    def _next_record(self, lease: Lease, sent_at: float, token: int | None) -> LockRecord:
        beat, self._next_beat = self._next_beat, self._next_beat + 1
        self._sent[beat] = sent_at
        lease = msgspec.structs.replace(
            lease,
            beat=beat,
            sent=sent_at,
            boot=boot_id(),
            beaten_at=created(self._clock.now()),
            token=lease.token if token is None else token,
        )
        return msgspec.structs.replace(self.record, lease=lease)

    def look(self) -> None:
        """Read, and believe only that. Raises LeaseLost if the record is gone or another's."""
        found = self.store.read()
        if found is None:
            raise LeaseLost("The lock is gone: somebody unlocked it.", kind="gone")
        if found.id != self.record.id:
            raise LeaseLost("The lock is another's now.", kind="another's", record=found)
        if found.beat < self.record.beat:
            # Beats only grow: it was unlocked, and then our own first write arrived a second time, late.
            raise LeaseLost("The lock is gone: somebody unlocked it.", kind="gone")
        self._found(found)

    def _found(self, record: LockRecord) -> None:
        self.record = record
        sent_at = self._sent.get(record.beat)
        # A dead predecessor may have sent the same number earlier; its late beat must not count as ours.
        if sent_at is not None and record.lease is not None and record.lease.sent == sent_at:
            self.base = max(self.base, sent_at)
        self._sent = {beat: at for beat, at in self._sent.items() if beat >= record.beat}
        self._next_beat = max(self._next_beat, record.beat + 1)

    def release(self) -> ReleaseResult:
        """
        Delete the record if it is ours, whatever became of earlier attempts. Safe to call again.

        Raises StoreUnavailable, StoreDenied: it may still be there; call again.
        """
        if self._released is None:
            self._released = self._release()
        return self._released

    def _release(self) -> ReleaseResult:
        for _ in range(_AGAIN):
            try:
                self.store.delete(self.record)
            except Conflict:
                found = self.store.read()
            except StoreUnavailable:
                self._may_be_deleted = True
                found = self.store.read()
                if found is not None and found.id == self.record.id:
                    raise
            else:
                return "released"
            if found is not None and found.id == self.record.id:
                self.record = found
            elif self._may_be_deleted:
                return "released"
            else:
                return "gone" if found is None else "another's"
        raise StoreUnavailable(f"{self.store.place} keeps changing while we release it.")


class HeldLock:
    """
    All the records that make up one lock: one, or `.tflock` and DynamoDB together with the same lock ID.

    Each is beaten on its own; every deadline is the earlier one; either one lost is lost.
    """

    def __init__(self, leases: Sequence[HeldLease]) -> None:
        self.leases = list(leases)

    @property
    def id(self) -> str:
        return self.leases[0].record.id

    @property
    def base(self) -> float:
        return min(lease.base for lease in self.leases)

    @property
    def beat(self) -> int:
        return max(lease.record.beat for lease in self.leases)

    @property
    def dead(self) -> LockRecord | None:
        """The record of the dead holder from whom we took the lock over, if we did."""
        return next((lease.dead for lease in self.leases if lease.dead), None)

    @property
    def token(self) -> int:
        return max((lease.record.lease.token for lease in self.leases if lease.record.lease), default=0)

    def renew(self, *, token: int | None = None) -> bool:
        """Beat every record; says whether `base` moved. A loss is raised at once, an outage after all were tried."""
        before = self.base
        outage: TfguardError | None = None
        for lease in self.leases:
            try:
                lease.renew(token=token)
            except LeaseLost:
                raise
            except TfguardError as error:
                outage = error
        if outage:
            raise outage
        return self.base > before

    def release(self) -> ReleaseResult:
        """Release every record, in the order they were taken; what fails is tried again on the next call."""
        results: list[ReleaseResult] = []
        outage: TfguardError | None = None
        for lease in list(self.leases):
            try:
                results.append(lease.release())
            except TfguardError as error:
                outage = error
        if outage:
            raise outage
        return next((result for result in ("another's", "gone") if result in results), "released")


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
        for index in range(len(self._stores)):
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
        for lease in reversed(held):
            with contextlib.suppress(TfguardError):
                lease.release()
        if held:
            # A delete whose answer was lost may still land: it must not meet our next attempt under the same ID.
            self._id = new_lock_id()

    def is_ours(self, record: LockRecord) -> bool:
        """Whether we have ever tried to write this record's ID."""
        return any(lock_id == record.id for _, lock_id in self._sent)

    def withdraw(self) -> None:
        """Clear away whatever a write with a lost answer may have left. For giving up; raises as the store does."""
        for index, store in enumerate(self._stores):
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
        # An older write of ours that lands again and again is nobody to wait for.
        record = self.watches[index].record
        raise Busy(None if record is not None and self.is_ours(record) else record)

    def _look(self, index: int) -> LockRecord | None:
        store = self._stores[index]
        record = store.read()
        self.watches[index].see(record, self._clock.boottime(), getattr(store, "date", None))
        return record

    def _recognise(self, index: int, record: LockRecord) -> HeldLease | None:
        """Our own write, whose answer was lost: it is ours, counted from before it was first sent."""
        lease = HeldLease(self._stores[index], record, self._sent[index, record.id], self._clock)
        if record.id == self._id:
            return self._taken(lease, self._dead.get((index, record.id)))
        lease.release()
        return None

    def _check_free(self, index: int) -> None:
        """Raise Busy unless the record is absent, ours, or expired and ours to take."""
        record = self.watches[index].record
        if record is None or (index, record.id) in self._sent:
            return
        if not self.watches[index].is_expired(self._clock.boottime()):
            raise Busy(record)
        if not may_take_over(self._policy, record, is_changing=self._draft.is_changing):
            raise Busy(record, is_expired=True)

    def _try_write(self, index: int, seen: LockRecord | None) -> HeldLease | None:
        """Create, or replace what was seen; None if the condition failed and it is worth another look."""
        if index == 0 and not self._may_try():
            raise Busy(seen, is_free=True)
        if seen is not None and index == 0:
            self._id = new_lock_id()
        store = self._stores[index]
        sent_at = self._clock.boottime()  # Never after what the record says: a successor compares the two.
        record = self._draft.record(self._id, self._clock, leased=store.has_leases)
        self._sent.setdefault((index, self._id), sent_at)
        self._on_trying(self._id, min(at for (_, lock_id), at in self._sent.items() if lock_id == self._id))
        self._dead[index, self._id] = seen
        try:
            stored = store.replace(seen, record) if seen else store.create(record)
        except Conflict:
            return self._after_doubt(index, seen)
        except StoreUnavailable:
            lease = self._after_doubt(index, seen)
            if lease is None:
                raise
            return lease
        return self._taken(HeldLease(store, stored, sent_at, self._clock), seen)

    def _after_doubt(self, index: int, seen: LockRecord | None) -> HeldLease | None:
        record = self._look(index)
        if record is None or record.id != self._id:
            return None
        base = self._sent[index, self._id]
        return self._taken(HeldLease(self._stores[index], record, base, self._clock), seen)

    @staticmethod
    def _taken(lease: HeldLease, seen: LockRecord | None) -> HeldLease:
        lease.dead = seen
        return lease
