"""
Stand-ins for what a lock depends on: time, a store whose answers get lost, a record's author.

`ScriptedStore` keeps a MemoryStore's promises (the contract suite holds that one) and breaks the network before it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import msgspec
import pytest

from tests.support.eventually import patience
from tests.support.memory import MemoryStore, MemoryTable
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.backends.target import Target
from tfguard.errors import Conflict, StoreDenied, StoreUnavailable
from tfguard.guard import messages
from tfguard.lock.acquire import Acquirer, Busy, Draft
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.protocol import LockRequest, LockTerms
from tfguard.lock.store import BaseStore, Holder, Lease, LockRecord, QueueRecord

#: The lease of every record made here, in seconds.
T = 180.0
#: The lease that a keeper's request asks for here, in seconds: short, for where time is real. Beats every half second.
LEASE = 9.0
#: What becomes of one request. *before*: it never arrives. *after*: it lands, and its answer is lost. *late*: it is
#: held back until `land_late`, and its answer is lost. *twice*: it lands, is answered, and lands again at `land_late`.
Fate = Literal["before", "after", "late", "twice", "denied", "expired", "throttled"]
_SERIAL = itertools.count(1)


class FakeClock:
    """A clock that only the test moves. Wall clock and boottime are moved apart by `jump`."""

    def __init__(self, start: float = 1000.0) -> None:
        self.seconds = start
        self._wall_offset = 0.0

    def boottime(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        start = datetime(2026, 11, 20, 10, tzinfo=timezone.utc)
        return start + timedelta(seconds=self.seconds + self._wall_offset)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock; the lock must not notice."""
        self._wall_offset += seconds


class ScriptedStore(BaseStore):
    """
    A MemoryStore behind a bad network.

    `on("replace", "after", "before")` decides the fate of the next two replaces; `log` names each request in order.
    `before_next` runs something just before a request lands, as another process would.
    """

    has_leases = True
    #: What the store's clock says with every answer, if it tells.
    date: datetime | None = None

    def __init__(self, table: MemoryTable | None = None, lock_id: str = "lock", clock: FakeClock | None = None) -> None:
        self.inner = MemoryStore(table, lock_id)
        self.table = self.inner.table
        self.log: list[str] = []
        self.latency = 0.0
        self.is_closed = False
        self._clock = clock
        self._fates: dict[str, deque[Fate | None]] = {}
        self._always: dict[str, Fate] = {}
        self._before: dict[str, deque[Callable[[], object]]] = {}
        self._late: list[Callable[[], object]] = []
        self._gates: dict[str, threading.Event] = {}

    # --- the script ---------------------------------------------------------------------------------------------

    def on(self, operation: str, *fates: Fate | None) -> None:
        """Decide the fate of the next requests of this kind; None lets one pass."""
        self._fates.setdefault(operation, deque()).extend(fates)

    def always(self, operation: str, fate: Fate) -> None:
        """Decide the fate of every request of this kind, until `heal`."""
        self._always[operation] = fate

    def heal(self) -> None:
        self._always.clear()
        self._fates.clear()

    def cut(self) -> None:
        """No request arrives any more."""
        for operation in ("read", "create", "replace", "delete", "read_queue", "write_queue"):
            self.always(operation, "before")

    def before_next(self, operation: str, act: Callable[[], object]) -> None:
        """Do this just before the next request of this kind lands; what is given later waits for the one after."""
        self._before.setdefault(operation, deque()).append(act)

    def land_late(self) -> None:
        """Let everything land that was held back; nobody hears the answers."""
        late, self._late = self._late, []
        for act in late:
            with _unheard():
                act()

    @contextmanager
    def hanging(self, operation: str) -> Iterator[None]:
        """Requests of this kind wait, on their way, for the end of the block."""
        gate = self._gates[operation] = threading.Event()
        try:
            yield
        finally:
            del self._gates[operation]
            gate.set()

    # --- the store ----------------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        return "the scripted store"

    def read(self) -> LockRecord | None:
        return self._request("read", self.inner.read)  # type: ignore[no-any-return]

    def create(self, record: LockRecord) -> LockRecord:
        return self._request("create", lambda: self.inner.create(record))  # type: ignore[no-any-return]

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        return self._request("replace", lambda: self.inner.replace(seen, record))  # type: ignore[no-any-return]

    def delete(self, seen: LockRecord) -> None:
        self._request("delete", lambda: self.inner.delete(seen))

    def read_queue(self) -> QueueRecord | None:
        return self._request("read_queue", self.inner.read_queue)  # type: ignore[no-any-return]

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        return self._request("write_queue", lambda: self.inner.write_queue(seen, record))  # type: ignore[no-any-return]

    def close(self) -> None:
        self.is_closed = True

    def _request(self, operation: str, land: Callable[[], Any]) -> Any:
        self.log.append(operation)
        if self._clock is not None:
            self._clock.advance(self.latency)
        if operation in self._gates:
            self._gates[operation].wait(patience(60))
        if planned := self._before.get(operation):
            planned.popleft()()
        fate = self._fate(operation)
        if fate in {"before", "throttled"}:
            raise StoreUnavailable("no answer", is_throttled=fate == "throttled")
        if fate in {"denied", "expired"}:
            raise StoreDenied("no", action=operation, resource="lock", is_expired=fate == "expired")
        if fate == "late":
            self._late.append(land)
            raise StoreUnavailable("no answer")
        if fate == "twice":
            self._late.append(land)
        answer = self._land(land, is_heard=fate != "after")
        if self._clock is not None:
            self._clock.advance(self.latency)
        return answer

    def _land(self, land: Callable[[], Any], *, is_heard: bool) -> Any:
        if is_heard:
            return land()
        with _unheard():
            land()
        raise StoreUnavailable("no answer")

    def _fate(self, operation: str) -> Fate | None:
        planned = self._fates.get(operation)
        return planned.popleft() if planned else self._always.get(operation)


@contextmanager
def _unheard() -> Iterator[None]:
    try:
        yield
    except Conflict:
        pass


def draft(*, lease_seconds: float = T, is_changing: bool = True, hold_until: str = "") -> Draft:
    """What a run writes that takes a lock."""
    return Draft(
        info=LockInfo(id="", operation="OperationTypeApply", who="ana@ci-7", version="1.11.4", path="bucket/key"),
        holder=Holder(who="ana@ci-7", command="apply"),
        duration_ms=round(lease_seconds * 1000),
        is_changing=is_changing,
        hold_until=hold_until,
    )


def acquire(**facts: Any) -> messages.Acquire:
    """The request for one lock, as a front sends it to its keeper."""
    target = Target(
        label="prod",
        path="bucket/key",
        backend="s3",
        workspace="default",
        stores=(DynamoDBSpec(table="locks", lock_id="lock", aws=AwsAccess()),),
    )
    asked = messages.Acquire(
        lock=LockRequest(
            terms=LockTerms(timeout_seconds=60.0, lease_seconds=LEASE),
            holder=Holder(who="ana@ci-7", command="apply"),
            operation="OperationTypeApply",
            info="",
            who="ana@ci-7",
            version="1.11.4",
            path=target.path,
            is_changing=True,
        ),
        target=target,
        environ=dict(os.environ),
    )
    return changed(asked, **facts)


def changed(asked: messages.Acquire, **facts: Any) -> messages.Acquire:
    """The same request but for these facts, wherever in it they belong."""

    def own(kind: type[msgspec.Struct]) -> dict[str, Any]:
        return {name: facts.pop(name) for name in kind.__struct_fields__ if name in facts}

    terms = msgspec.structs.replace(asked.terms, **own(LockTerms))
    lock = msgspec.structs.replace(asked.lock, terms=terms, **own(LockRequest))
    return msgspec.structs.replace(asked, lock=lock, **facts)


class QuietSurroundings:
    """A state about which there is nothing to say."""

    def workspace_exists(self) -> bool:
        return True

    def digest_mismatch(self) -> None:
        return None

    def keep_copy(self, path: str, lock_id: str) -> str:
        return f"{path}.errored.{lock_id}"

    def is_there(self, place: str) -> bool:
        return True


def anothers(
    *, beat: int = 3, lease_seconds: float = T, is_changing: bool = True, hold_until: str = "", token: int = 0
) -> LockRecord:
    """A record of another tfguard."""
    info = LockInfo(id=f"00000000-0000-4000-8000-{next(_SERIAL):012d}", who="bob@ci-8")
    lease = Lease(
        beat=beat,
        duration_ms=round(lease_seconds * 1000),
        holder=Holder(who="bob@ci-8", command="apply"),
        is_changing=is_changing,
        hold_until=hold_until,
        token=token,
    )
    return LockRecord(text=info.encode(), info=info, lease=lease)


def plain() -> LockRecord:
    """A record of a plain Terraform."""
    info = LockInfo(
        id=f"11111111-0000-4000-8000-{next(_SERIAL):012d}", who="eve@laptop", created="2020-01-01T00:00:00Z"
    )
    return LockRecord(text=info.encode(), info=info)


def beaten(record: LockRecord) -> LockRecord:
    """The same record, one heartbeat later."""
    assert record.lease is not None
    return msgspec.structs.replace(record, lease=msgspec.structs.replace(record.lease, beat=record.beat + 1))


def put(table: MemoryTable, record: LockRecord | None, lock_id: str = "lock") -> None:
    """Make this the stored record, whatever stood there: a person, or fate."""
    if record is None:
        table.records.pop(lock_id, None)
    else:
        table.records[lock_id] = record


def stored(table: MemoryTable, lock_id: str = "lock") -> LockRecord | None:
    """What the store would show now."""
    return table.records.get(lock_id)


def expire(acquirer: Acquirer, clock: FakeClock, seconds: float = T) -> None:
    """Watch a busy lock for one lease."""
    with pytest.raises(Busy):
        acquirer.try_acquire()
    clock.advance(seconds)
