"""How a holder comes to know its child's own lock: when it looks, and what its record is to say then."""

from __future__ import annotations

import pytest

from tests.lock.test_inner_lock import APPLY, Inner, guard, info
from tests.support.fakes import FakeClock
from tests.support.memory import MemoryStore, MemoryTable
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.inner_watch import AGAIN_SECONDS, FORGOTTEN_LOOKS, LEARN_SECONDS, InnerWatch
from tfguard.lock.lease import HeldLease, HeldLock
from tfguard.lock.lockinfo import LockInfo


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def store(inner: Inner) -> GuardedStore:
    return GuardedStore(MemoryStore(MemoryTable()), inner)


@pytest.fixture
def lock(store: GuardedStore) -> HeldLock:
    return HeldLock([HeldLease(store, store.create(guard()), 0.0, FakeClock())])


def named(lock: HeldLock) -> str:
    lease = lock.leases[0].record.lease
    assert lease is not None
    return lease.inner


def test_it_looks_often_until_it_knows_and_says_it_once(store: GuardedStore, inner: Inner, lock: HeldLock) -> None:
    watch = InnerWatch([store])
    assert watch.learn(lock) is None
    assert watch.pause(15.0) == LEARN_SECONDS
    inner.held = info()

    learned = watch.learn(lock)
    assert learned == inner.held.id
    lock.renew(inner=learned)

    assert named(lock) == learned
    assert watch.learn(lock) is None
    assert (watch.pause(15.0), watch.pause(3.0)) == (AGAIN_SECONDS, 3.0)


def test_a_lock_that_is_gone_is_looked_for_often_again(store: GuardedStore, inner: Inner, lock: HeldLock) -> None:
    watch = InnerWatch([store])
    inner.held = info()
    lock.renew(inner=watch.learn(lock))
    inner.held = None

    assert watch.learn(lock) is None
    assert watch.pause(15.0) == LEARN_SECONDS


def test_what_a_child_has_left_is_freed_at_the_next_look(store: GuardedStore, inner: Inner, lock: HeldLock) -> None:
    watch = InnerWatch([store])
    inner.held = info()
    left = inner.held.id
    watch.is_to_be_freed = True

    assert watch.learn(lock) is None
    assert inner.freed == [left]
    assert not watch.is_to_be_freed


def test_what_a_dead_holder_has_left_is_freed_and_named_no_more(store: GuardedStore, inner: Inner) -> None:
    dead = store.create(guard())
    inner.held = info()
    left = inner.held.id
    lock = HeldLock([HeldLease(store, store.replace(dead, guard(who="bob@ci-9")), 0.0, FakeClock())])
    assert named(lock) == left

    InnerWatch([store]).clear_after_dead(lock)

    assert inner.freed == [left]
    assert named(lock) == ""


def test_a_lock_that_is_ours_alone_costs_no_look(lock: HeldLock) -> None:
    watch = InnerWatch([MemoryStore(MemoryTable())])

    assert not watch.is_on
    assert (watch.pause(15.0), watch.pause(None), watch.learn(lock)) == (15.0, None, None)


@pytest.mark.parametrize("may_be_left", [False, True])
def test_whether_a_release_frees_what_looks_like_the_childs_is_for_the_holder_to_say(
    store: GuardedStore, inner: Inner, lock: HeldLock, may_be_left: bool
) -> None:
    watch = InnerWatch([store])
    assert not watch.may_be_left, "no child has run yet"
    inner.held = info()
    childs = inner.held.id
    watch.may_be_left = may_be_left

    lock.release()

    assert inner.freed == ([childs] if may_be_left else [])


def test_what_was_asked_for_before_the_stores_were_open_is_not_forgotten(store: GuardedStore, inner: Inner) -> None:
    """A successor's: its state is to be pushed, and its store has not answered yet."""
    inner.held = info()
    left = inner.held.id
    watch = InnerWatch()
    watch.is_to_be_freed = True
    watch.begin([store], may_be_left=True)

    watch.learn(HeldLock([HeldLease(store, store.create(guard()), 0.0, FakeClock())]))

    assert inner.freed == [left]


# --- a lock under which a state was to be made, and that is forgotten ---------------------------------------------


def test_a_lock_that_stands_over_a_state_that_is_made_is_freed_under_the_child(
    store: GuardedStore, inner: Inner, lock: HeldLock
) -> None:
    watch = InnerWatch([store])
    inner.held = info(operation="init")
    forgotten = inner.held.id

    for _ in range(FORGOTTEN_LOOKS - 1):
        lock.renew(inner=watch.learn(lock))
        assert (inner.freed, watch.pause(15.0)) == ([], LEARN_SECONDS)
    watch.learn(lock)

    assert inner.freed == [forgotten]


def test_a_lock_under_which_a_state_is_still_being_made_is_left_to_the_child(
    store: GuardedStore, inner: Inner, lock: HeldLock
) -> None:
    watch = InnerWatch([store])
    inner.is_made = False
    inner.held = info(operation="init")

    for _ in range(3 * FORGOTTEN_LOOKS):
        watch.learn(lock)

    assert inner.freed == []


def test_one_state_made_after_another_is_no_forgotten_lock(store: GuardedStore, inner: Inner, lock: HeldLock) -> None:
    """Under an `exec` of many; and any other lock is the child's at work, however long."""
    watch = InnerWatch([store])

    for number in range(3 * FORGOTTEN_LOOKS):
        inner.held = info(operation="init" if number < FORGOTTEN_LOOKS else APPLY, id=f"lock-{number // 4}")
        watch.learn(lock)

    assert inner.freed == []


def test_a_release_frees_what_the_child_has_forgotten_though_nothing_by_its_looks(
    store: GuardedStore, inner: Inner, lock: HeldLock
) -> None:
    watch, rests = InnerWatch([store]), []
    watch.may_be_left = False
    inner.held = info(operation="init")
    forgotten = inner.held.id

    watch.clear_forgotten(lock, rests.append)

    assert inner.freed == [forgotten]
    assert rests == [LEARN_SECONDS] * (FORGOTTEN_LOOKS - 1)


@pytest.mark.parametrize("held", [None, info(), info(operation="init", who="bob@ci-9")])
def test_a_release_waits_for_nobody_else(
    store: GuardedStore, inner: Inner, lock: HeldLock, held: LockInfo | None
) -> None:
    inner.held = held

    InnerWatch([store]).clear_forgotten(lock, pytest.fail)

    assert inner.freed == []
