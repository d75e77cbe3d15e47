"""
Waiters by the hundred on one clock moved by hand: the real `Waiter`, line and queue, a store in memory that counts.

Requests take no time, so a hand-over is made of waiting alone. Used by tests and by the benchmark of scale.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from tests.support.memory import MemoryStore, MemoryTable
from tfguard.errors import Conflict, StoreDenied, StoreUnavailable
from tfguard.lock.acquire import Busy
from tfguard.lock.lease import HeldLock
from tfguard.lock.lockinfo import LockInfo, new_lock_id
from tfguard.lock.protocol import LockRequest, LockTerms, Order
from tfguard.lock.queue import Queue
from tfguard.lock.queue_record import QueueState, decode
from tfguard.lock.store import Holder, LockRecord, QueueRecord
from tfguard.lock.waiting import Failure, Waiter

BEAT_SECONDS = 10.0
START = datetime(2026, 11, 21, tzinfo=timezone.utc)


class HandClock:
    """Both clocks, moved by the world."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def boottime(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class Requests:
    """What was asked of the store: how often, by kind, and the units that DynamoDB would bill (writes, reads)."""

    kinds: Counter[str] = field(default_factory=Counter)
    write_units: int = 0
    read_units: int = 0

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


class CountingStore(MemoryStore):
    """Counts requests. `queue_fault`, if set, is raised by everything about the queue record, or `only_writes`."""

    def __init__(self, table: MemoryTable, requests: Requests) -> None:
        super().__init__(table)
        self.queue_fault: Exception | None = None
        self.only_writes = False
        self._requests = requests

    def read(self) -> LockRecord | None:
        found = super().read()
        self._count("look", read=700 if found else 0)
        return found

    def create(self, record: LockRecord) -> LockRecord:
        self._count("create", written=len(record.text) + 400)
        return super().create(record)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        self._count("replace", written=len(record.text) + 400)
        return super().replace(seen, record)

    def delete(self, seen: LockRecord) -> None:
        self._count("delete", written=700)
        super().delete(seen)

    def read_queue(self) -> QueueRecord | None:
        found = super().read_queue()
        self._count("read_queue", read=len(found.text.encode()) if found else 0)
        if not self.only_writes:
            self._fail()
        return found

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        self._count("write_queue", written=len(record.text.encode()))
        self._fail()
        return super().write_queue(seen, record)

    def _fail(self) -> None:
        if self.queue_fault is not None:
            raise self.queue_fault

    def _count(self, kind: str, *, written: int = 0, read: int = 0) -> None:
        self._requests.kinds[kind] += 1
        if kind in ("look", "read_queue"):
            self._requests.read_units += max(1, -(-read // 4096))
        else:
            self._requests.write_units += max(1, -(-written // 1024))


@dataclass
class Acquisition:
    """`name` took the lock at `at`; `gap` is how long it had been free."""

    name: str
    at: float
    gap: float


@dataclass
class Actor:
    """One who wants the lock, and what became of him."""

    name: str
    store: CountingStore
    state: Literal["waiting", "holding", "done", "gave up", "dead"] = "waiting"
    waiter: Waiter | None = None
    queue: Queue | None = None
    told: list[Any] = field(default_factory=list)
    again: Callable[[], None] | None = None


class World:
    """One lock, and whoever comes for it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.table = MemoryTable()
        self.requests = Requests()
        self.acquired: list[Acquisition] = []
        self.actors: list[Actor] = []
        self.overlaps = 0
        self._free_since = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- what happens -------------------------------------------------------------------------------------------

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), act))

    def run(self, until: float) -> None:
        """Let happen what happens up to `until`."""
        while self._events and self._events[0][0] <= until:
            self.clock.seconds, _, act = heapq.heappop(self._events)
            act()
        self.clock.seconds = until

    def tfguard(
        self,
        name: str,
        at: float = 0.0,
        *,
        hold: float = 60.0,
        timeout: float = 1e9,
        order: Order = "fifo",
        fault: Exception | None = None,
        comes_back: bool = False,
    ) -> Actor:
        """A tfguard that comes at `at`, holds the lock for `hold` seconds once it has it, and `comes_back` or not."""
        actor = Actor(name, CountingStore(self.table, self.requests))
        actor.store.queue_fault = fault
        if comes_back:
            actor.again = lambda: self._come(actor, hold, timeout, order)
        self.actors.append(actor)
        self.at(at, lambda: self._come(actor, hold, timeout, order))
        return actor

    def plain(self, name: str, at: float = 0.0, *, hold: float = 60.0) -> Actor:
        """A plain Terraform with a long -lock-timeout: tries after 1, 2, 4, 8, 16, 16… seconds, in no order."""
        actor = Actor(name, CountingStore(self.table, Requests()))
        self.actors.append(actor)
        self.at(at, lambda: self._try_plain(actor, hold, 1.0))
        return actor

    def kill(self, actor: Actor, at: float) -> None:
        """He is never heard of again, in the middle of whatever he does."""

        def die() -> None:
            actor.state = "dead"

        self.at(at, die)

    def queue(self) -> QueueState:
        record = self.table.queues.get("lock")
        return decode(record.text) if record else QueueState()

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.acquired]

    @property
    def gaps(self) -> list[float]:
        return [each.gap for each in self.acquired[1:]]

    # --- the actors ---------------------------------------------------------------------------------------------

    def _come(self, actor: Actor, hold: float, timeout: float, order: Order) -> None:
        actor.queue = Queue(actor.store, self.clock, lambda seconds: None)
        actor.waiter = Waiter(
            _request(actor.name, timeout, order),
            [actor.store],
            self.clock,
            actor.queue,
            post=actor.told.append,
            tell=lambda message: None,
            cancel=threading.Event(),
        )
        self._look(actor, hold)

    def _look(self, actor: Actor, hold: float) -> None:
        if actor.state == "dead":
            return
        assert actor.waiter is not None and actor.queue is not None
        try:
            lock = actor.waiter.look()
        except (Busy, StoreUnavailable) as error:
            pause = actor.waiter.pause(error)
            if pause <= 0:
                actor.state = "gave up"
                actor.waiter.give_up()
            else:
                self.at(self.clock.seconds + pause, lambda: self._look(actor, hold))
        except (Failure, StoreDenied):
            actor.state = "gave up"
        else:
            actor.queue.count_acquisition(0, actor.waiter.gone)
            self._hold(actor, hold, lock.release)
            self.at(self.clock.seconds + BEAT_SECONDS, lambda: self._beat(actor, lock))

    def _beat(self, actor: Actor, lock: HeldLock) -> None:
        if actor.state == "holding":
            lock.renew()
            self.at(self.clock.seconds + BEAT_SECONDS, lambda: self._beat(actor, lock))

    def _try_plain(self, actor: Actor, hold: float, pause: float) -> None:
        info = LockInfo(id=new_lock_id(), operation="OperationTypeApply", who=actor.name)
        record = LockRecord(text=info.encode(), info=info)
        try:
            actor.store.create(record)
        except Conflict:
            self.at(self.clock.seconds + pause, lambda: self._try_plain(actor, hold, min(16.0, pause * 2)))
        else:
            self._hold(actor, hold, lambda: actor.store.delete(record))

    def _hold(self, actor: Actor, hold: float, release: Callable[[], object]) -> None:
        now = self.clock.seconds
        self.overlaps += sum(each.state == "holding" for each in self.actors)
        actor.state = "holding"
        self.acquired.append(Acquisition(actor.name, now, now - self._free_since))

        def end() -> None:
            if actor.state == "dead":
                return
            release()
            actor.state = "done"
            self._free_since = self.clock.seconds
            if actor.again is not None:
                actor.state = "waiting"
                self.at(now + hold + 0.05, actor.again)

        self.at(now + hold, end)


def _request(name: str, timeout: float, order: Order) -> LockRequest:
    return LockRequest(
        terms=LockTerms(timeout_seconds=timeout, lease_seconds=180.0, order=order),
        holder=Holder(
            who=f"runner@{name}-abcdef.example",
            command="apply",
            run="GitHub run 17482910345",
            link="https://github.example/an-organisation/infrastructure/actions/runs/17482910345",
        ),
        operation="OperationTypeApply",
        info="",
        who=name,
        version="1.11.4",
        path="lock",
        is_changing=True,
    )
