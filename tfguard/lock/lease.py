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
from collections.abc import Sequence
from typing import Literal

import msgspec

from tfguard.clock import Clock, boot_id, created, own_mark
from tfguard.errors import Conflict, LeaseLost, StoreUnavailable, TfguardError
from tfguard.lock.store import Lease, LockRecord, Store

#: How a release ended: we deleted it; it was gone already; somebody else's record stood there and was left alone.
ReleaseResult = Literal["released", "gone", "another's"]
#: A lock that vanishes between our write and our read is tried again at once, this often.
_AGAIN = 3


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

    @property
    def is_guarded(self) -> bool:
        """Whether it lives and dies with the guard: there is nothing to beat, and only a person can end it."""
        return self.store.needs_guard

    def skip_beats(self, upto: int) -> None:
        """Never send a beat below `upto`: a predecessor may have, and its answer is lost."""
        self._next_beat = max(self._next_beat, upto)

    def renew(self, *, token: int | None = None, inner: str | None = None) -> bool:
        """
        Write one heartbeat; return whether the lease is now counted from a later instant.

        The store takes it only while the record still carries our lock ID and the beat we last saw, so a heartbeat
        that arrives late, twice or after a takeover is refused, never applied.

        Raises:
            LeaseLost: The record names another holder, or is gone.

            StoreUnavailable, StoreDenied: No answer. The lease may still be ours; `safe_until` decides.
        """
        if self.is_guarded:
            self.look()
            return False
        if self.record.lease is None:
            self.base = self._clock.boottime()
            return True
        before = self.base
        sent_at = self._clock.boottime()
        record = self._next_record(self.record.lease, sent_at, token, inner)
        try:
            self._found(self.store.replace(self.record, record))
        except Conflict:
            self.look()
        except StoreUnavailable:
            self.look()
            if self.base == before:
                raise
        return self.base > before

    def _next_record(self, lease: Lease, sent_at: float, token: int | None, inner: str | None) -> LockRecord:
        beat, self._next_beat = self._next_beat, self._next_beat + 1
        self._sent[beat] = sent_at
        lease = msgspec.structs.replace(
            lease,
            beat=beat,
            sent=sent_at,
            boot=boot_id(),
            sender=own_mark(),
            beaten_at=created(self._clock.now()),
            token=lease.token if token is None else token,
            inner=lease.inner if inner is None else inner,
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

    Or a guard, which has the lease, and Terraform's lock, which has no room for one. That one has no deadline, is only
    looked at, and is released first: a guard without it dies by itself, it without its guard never would.
    """

    def __init__(self, leases: Sequence[HeldLease]) -> None:
        self.leases = list(leases)

    @property
    def id(self) -> str:
        return self.leases[0].record.id

    @property
    def force_unlock_id(self) -> str:
        """As `LockRecord` has it: that of Terraform's own lock, where ours is its guard."""
        lease = next((lease for lease in self.leases if lease.is_guarded), self.leases[0])
        return lease.record.force_unlock_id

    @property
    def base(self) -> float:
        return min((lease.base for lease in self.leases if not lease.is_guarded), default=self.leases[0].base)

    @property
    def beat(self) -> int:
        return max(lease.record.beat for lease in self.leases)

    @property
    def dead(self) -> LockRecord | None:
        """The record of the dead holder from whom we took the lock over, if we did."""
        return next((lease.dead for lease in self.leases if lease.dead), None)

    def renew(self, *, token: int | None = None, inner: str | None = None) -> bool:
        """Beat every record; return whether `base` moved. A loss is raised at once, an outage after all were tried."""
        before = self.base
        outage: TfguardError | None = None
        for lease in self.leases:
            try:
                lease.renew(token=token, inner=inner)
            except LeaseLost:
                if lease.store.refuses_late_writes:
                    self._release_guards()
                raise
            except TfguardError as error:
                outage = outage if lease.is_guarded else error
        if outage:
            raise outage
        return self.base > before

    def _release_guards(self) -> None:
        """What they guarded is gone, and whoever has its ID can write no more: nobody need wait for the lease's end."""
        for lease in self.leases:
            if not lease.is_guarded:
                with contextlib.suppress(TfguardError):
                    lease.release()

    def release(self) -> ReleaseResult:
        """
        Release every record, in the order they were taken, but what has a guard before that guard; what fails is tried
        again on the next call.
        """
        results: list[ReleaseResult] = []
        outage: TfguardError | None = None
        for lease in sorted(self.leases, key=lambda lease: not lease.is_guarded):
            try:
                results.append(lease.release())
            except TfguardError as error:
                if lease.is_guarded:
                    raise
                outage = error
        if outage:
            raise outage
        return next((result for result in ("another's", "gone") if result in results), "released")
