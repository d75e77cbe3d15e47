"""
What is stored, and the register it is stored in.

A store is a compare-and-swap register for two small records per lock. It knows records, never leases: what a beat
means, when a lock has expired and who may take it is decided once, in `lease`. A new store is one file that passes
`tests/contract/`.

Everything here crosses the socket between front and keeper, so it is plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Protocol, runtime_checkable

import msgspec

from tfguard.lock.deadlines import bounded_lease_seconds
from tfguard.lock.lockinfo import LockInfo
from tfguard.wire import Stranger

#: A number out of a stranger's record: whatever we do with it, it stays one that Python can print and divide.
MAX_COUNT = 2**53
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class Holder(Stranger, frozen=True, omit_defaults=True):
    """Who holds or waits for a lock: `ana@ci-7`, `apply`, `GitHub run 4812`, `https://…`."""

    who: str
    command: str = ""
    run: str = ""
    link: str = ""


class Lease(Stranger, frozen=True, kw_only=True, omit_defaults=True):
    """
    What tfguard adds to a lock record; a plain Terraform lock has none and never expires.

    `beat` counts heartbeats and only grows. `duration_ms` is the *holder's* lease, as it is written: waiters obey it,
    not their own setting, and read it by `seconds`. `boot` and `sent` (seconds of boottime) let a process on the same
    boot judge the age of a beat exactly, and `sender` (`clock.own_mark`) see whether there can be another; `beaten_at`
    is for people. `hold_until` (RFC 3339) marks a hold: a lock without a child, taken by hand. `inner` is the ID
    of the lock that the child has taken by itself beside this one, once it is known: see `guarded`.
    """

    beat: Count
    duration_ms: Count
    holder: Holder
    is_changing: bool = True
    token: Count = 0
    boot: str = ""
    sent: float = 0.0
    sender: str = ""
    beaten_at: str = ""
    hold_until: str = ""
    reason: str = ""
    inner: str = ""

    @property
    def seconds(self) -> float:
        """How long it lasts, within what a lease may be: the record may be anybody's."""
        return bounded_lease_seconds(self.duration_ms / 1000)


class LockRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a store keeps while the lock is held.

    `text` is Terraform's LockInfo exactly as stored: it is the record's identity, and never shown. `info` is `text`
    parsed, None where it cannot be. `lease` is None for a plain Terraform lock and wherever our data cannot be read.
    `version` belongs to the store (an ETag); callers hand it back untouched. `force_unlock_id` is set where
    `terraform force-unlock` takes another ID than the one in `info`: the store's own number for what it keeps.
    """

    text: str
    info: LockInfo | None
    lease: Lease | None = None
    version: str = ""
    force_unlock_id: str = ""

    @property
    def handle(self) -> str:
        """What `terraform force-unlock` takes, and Terraform shows as the lock's ID; empty where it takes nothing."""
        return self.force_unlock_id or self.id

    @property
    def id(self) -> str:
        """The lock ID, empty where the record cannot be read."""
        return self.info.id if self.info else ""

    @property
    def beat(self) -> int:
        """The number of the last heartbeat, 0 without a lease."""
        return self.lease.beat if self.lease else 0


class QueueRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    The line, the last fencing token and the last runs, as text of `queue_record`'s own making. Advisory.

    `revision` is compared by `write_queue`; `version` belongs to the store.
    """

    text: str
    revision: int = 0
    version: str = ""


class Store(Protocol):
    """
    One lock's register. Reads are strongly consistent; every write is conditional; nothing is retried in here.

    Every method raises:
        StoreUnavailable: No usable answer; a write may have landed or may still land.

        StoreDenied: The store refuses us (permissions, credentials); nothing was written.

        StoreMisconfigured: No such table or bucket, or one of another shape; nothing was written.

    Used by one thread at a time per instance, with short timeouts (connect 2 s, read 3 s).
    """

    @property
    def has_leases(self) -> bool:
        """Whether records can expire here. False where the kernel ends a lock together with its holder."""
        ...

    @property
    def needs_guard(self) -> bool:
        """
        Whether records here have no room for a lease: one lives and dies with its guard, the record of the same ID in
        the first of the lock's stores. What is read or written here has no lease, and there is no queue.
        """
        ...

    @property
    def refuses_late_writes(self) -> bool:
        """Whether the state is written by whoever has this lock's ID alone, and by nobody once the lock is gone."""
        ...

    @property
    def place(self) -> str:
        """Where the lock lives, for people: `DynamoDB table tf-locks`, `s3://bucket/key.tflock`."""
        ...

    @property
    def date(self) -> datetime | None:
        """What the store's own clock said with its last good answer; None where it tells no time."""
        ...

    def credentials_expire_at(self) -> datetime | None:
        """Return when the credentials at hand end; None if they do not, or nobody knows."""
        ...

    def prove_conditional(self, record: LockRecord) -> None:
        """
        Prove that the store refuses a write whose condition does not hold, where that is not certain.

        `record` is ours and comes to no harm.

        Raises:
            StoreMisconfigured: It ignores conditions: a lease kept here could be held twice.
        """
        ...

    def fileno(self) -> int:
        """Return the descriptor that carries the lock, -1 where none does, or we do not hold it."""
        ...

    def read(self) -> LockRecord | None:
        """Return the record, None if the lock is free. Garbage is a record with `info=None`, never an error."""
        ...

    def create(self, record: LockRecord) -> LockRecord:
        """Write the record if there is none, and return it with its `version`. Raises Conflict."""
        ...

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        """Write `record` if the stored one is still `seen` (its text and its beat). Raises Conflict."""
        ...

    def delete(self, seen: LockRecord) -> None:
        """
        Delete the record if it is still `seen`. Raises Conflict, also when there is none.

        Stores may compare the text alone, or text and beat: after a Conflict, read, and try again while it is yours.
        """
        ...

    def read_queue(self) -> QueueRecord | None:
        """Return the queue record, None if there is none."""
        ...

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        """Write the queue record if it is still `seen` (None: absent). Raises Conflict."""
        ...

    def close(self) -> None:
        """Let go of connections and files. A lock that lives in the kernel is let go too."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """A store that tells of a lock's end by itself, so that nobody has to ask again and again."""

    def await_change(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """
        Rest so long, or until the lock is not held as the last `read` has shown it, or `is_over`.

        It may return early for no reason, and a heartbeat is none to return. Raises as a store does.
        """
        ...


def queue_store(stores: Sequence[Store]) -> Store:
    """Return the one of a lock's stores that keeps its line and its history."""
    return ([store for store in stores if not store.needs_guard] or stores)[-1]


@runtime_checkable
class Carried(Protocol):
    """A store whose lock ends with a connection, and that hears of that end."""

    def on_end(self, tell: Callable[[], None]) -> None:
        """Call `tell` from a thread of its own whenever what carries the lock ends, unless we have ended it."""
        ...

    @property
    def carriers(self) -> int:
        """How many have carried it so far, one after another: another number, another descriptor."""
        ...

    @property
    def has_state_changed(self) -> bool:
        """Whether the last beat was the first over another carrier, and the state was written since that before."""
        ...


class BaseStore:
    """What most stores are, of what a `Store` may be: no date, no end, nothing to prove, no descriptor."""

    @property
    def needs_guard(self) -> bool:
        return False

    @property
    def refuses_late_writes(self) -> bool:
        return False

    @property
    def date(self) -> datetime | None:
        return None

    def credentials_expire_at(self) -> datetime | None:
        return None

    def prove_conditional(self, record: LockRecord) -> None:
        pass

    def fileno(self) -> int:
        return -1
