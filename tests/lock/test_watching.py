"""Who is next rests until the store says that the lock's holder has changed; everybody else, and elsewhere, polls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lock.test_session import WaitingClock
from tests.support.fakes import ScriptedStore, acquire, anothers, plain, put
from tests.support.memory import MemoryTable
from tfguard.errors import StoreUnavailable
from tfguard.lock import protocol
from tfguard.lock.acquire import Busy
from tfguard.lock.queue import Queue
from tfguard.lock.store import Watchable
from tfguard.lock.waiting import Failure, Waiter

WATCH_SECONDS = 2.0


class WatchableStore(ScriptedStore):
    """`on_rest` says what becomes of a rest; by itself it is a full one."""

    def __init__(self, table: MemoryTable, clock: WaitingClock) -> None:
        super().__init__(table, clock=clock)
        self.rests: list[float] = []
        self.on_rest: Callable[[float], None] = clock.advance

    def await_change(self, seconds: float, is_over: Callable[[], bool]) -> None:
        self.rests.append(seconds)
        if not is_over():
            self.on_rest(seconds)


class Scene:
    """A lock that another holds, and one who waits for it."""

    def __init__(self, *, timeout_seconds: float = 60.0) -> None:
        self.clock = WaitingClock()
        self.table = MemoryTable()
        self.store = WatchableStore(self.table, self.clock)
        put(self.table, plain())
        self.request = acquire(timeout_seconds=timeout_seconds).lock
        self.cancel = self.clock.event()
        self.looks: list[float] = []
        self.waiter = self.newcomer(self.store)

    def newcomer(self, store: ScriptedStore) -> Waiter:
        queue = Queue(store, self.clock, self.clock.sleep)
        return Waiter(
            self.request,
            [store],
            self.clock,
            queue,
            post=lambda said: self.looks.append(self.clock.boottime()) if isinstance(said, protocol.Waiting) else None,
            tell=lambda _: None,
            cancel=self.cancel,
        )

    def free(self, _: float = 0.0) -> None:
        put(self.table, None)


def test_a_store_that_cannot_wake_is_no_watchable_one() -> None:
    scene = Scene()

    assert isinstance(scene.store, Watchable)
    assert not isinstance(ScriptedStore(), Watchable)


def test_who_is_next_takes_the_lock_as_soon_as_the_store_tells_of_its_end() -> None:
    scene = Scene()
    before = scene.clock.boottime()
    scene.store.on_rest = scene.free

    lock = scene.waiter.wait()

    assert lock.id
    assert scene.store.rests == [WATCH_SECONDS]
    assert scene.clock.boottime() - before < 0.25


def test_it_looks_all_the_same_every_two_seconds() -> None:
    scene = Scene(timeout_seconds=20)

    with pytest.raises(Busy):
        scene.waiter.wait()

    assert 10 <= len(scene.looks) <= 12


def test_it_is_awake_when_a_lease_expires() -> None:
    scene = Scene()
    put(scene.table, anothers(lease_seconds=5))
    before = scene.clock.boottime()

    scene.waiter.wait()

    assert 5 <= scene.clock.boottime() - before <= 5.5


def test_a_cancel_ends_the_rest() -> None:
    scene = Scene()
    scene.store.on_rest = lambda _: scene.cancel.set()

    with pytest.raises(Failure):
        scene.waiter.wait()

    assert len(scene.store.rests) == 1


def test_a_store_that_wakes_for_nothing_is_polled_after_a_while() -> None:
    scene = Scene(timeout_seconds=30)
    scene.store.on_rest = lambda _: None

    with pytest.raises(Busy):
        scene.waiter.wait()

    assert len(scene.store.rests) == 20
    assert len(scene.looks) < 200


def test_a_store_that_cannot_be_asked_is_polled_meanwhile() -> None:
    scene = Scene(timeout_seconds=30)

    def fail(_: float) -> None:
        raise StoreUnavailable("it is away")

    scene.store.on_rest = fail
    with pytest.raises(Busy):
        scene.waiter.wait()

    assert len(scene.looks) < 200


def test_who_is_not_next_does_not_watch() -> None:
    scene = Scene(timeout_seconds=20)
    other = WatchableStore(scene.table, scene.clock)
    first = scene.newcomer(other)
    with pytest.raises(Busy):
        first.look()

    with pytest.raises(Busy):
        scene.waiter.look()

    pauses = first.pause(Busy(plain())), scene.waiter.pause(Busy(plain()))
    assert pauses[0] == WATCH_SECONDS
    assert pauses[1] < 1
