"""
Releasing, and going on where a dead keeper stopped.

A docstring that begins with a letter and a number names the row of our list of lock failures that is shown.
"""

from __future__ import annotations

import pytest

from tests.lock.conftest import beat_unheard
from tests.support.fakes import ScriptedStore, anothers, draft, put, stored
from tfguard.errors import Conflict, LeaseLost, StoreDenied, StoreUnavailable
from tfguard.lock.acquire import Acquirer
from tfguard.lock.lease import HeldLease


def test_release_leaves_nothing(held, store):
    assert held.release() == "released"
    assert stored(store.table) is None


def test_a_release_whose_answer_was_lost_spares_the_rival_that_came(held, store):
    """D1"""
    rival = anothers()
    store.on("delete", "after")
    store.before_next("read", lambda: put(store.table, rival))

    result = held.release()

    assert result == "released"
    assert stored(store.table) == rival


def test_a_release_retried_after_a_lost_answer_spares_the_rival(held, store):
    """D1"""
    rival = anothers()
    store.on("delete", "after")
    store.on("read", "before")
    with pytest.raises(StoreUnavailable):
        held.release()
    put(store.table, rival)

    assert held.release() == "released"
    assert stored(store.table) == rival


def test_a_release_that_never_arrived_is_tried_again(held, store):
    """D2"""
    store.on("delete", "before", "before")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            held.release()

    assert held.release() == "released"
    assert stored(store.table) is None


def test_a_beat_that_landed_unheard_does_not_stop_the_release(held, store, clock):
    """D3"""
    clock.advance(10)
    beat_unheard(held, store)

    assert held.release() == "released"
    assert stored(store.table) is None


def test_a_release_repeats_where_the_store_compares_the_beat_too(clock):
    """D3"""

    class Exact(ScriptedStore):
        def delete(self, seen):
            if (found := stored(self.table)) is not None and found.beat != seen.beat:
                self.log.append("delete")
                raise Conflict(self.place)
            super().delete(seen)

    store = Exact(clock=clock)
    lock = Acquirer([store], draft(), clock).try_acquire()
    beat_unheard(lock, store)

    assert lock.release() == "released"
    assert store.log[-3:] == ["delete", "read", "delete"]


def test_a_beat_in_flight_does_not_bring_back_what_was_released(held, store, clock):
    """D3"""
    clock.advance(10)
    store.on("replace", "late")
    with pytest.raises(StoreUnavailable):
        held.renew()
    held.release()

    store.land_late()

    assert stored(store.table) is None


def test_a_release_after_a_loss_touches_nothing(held, store):
    """D4"""
    put(store.table, None)
    with pytest.raises(LeaseLost):
        held.renew()

    assert held.release() == "gone"
    assert stored(store.table) is None


def test_a_second_release_asks_nothing(held, store):
    """D4"""
    held.release()
    store.log.clear()

    assert held.release() == "released"
    assert store.log == []


def test_a_release_that_is_refused_says_so_and_may_be_tried_again(held, store):
    """D2"""
    store.on("delete", "denied")
    with pytest.raises(StoreDenied):
        held.release()

    assert held.release() == "released"


def test_a_successor_does_not_wait_for_its_predecessors_attempt(store, clock):
    predecessor = Acquirer([store], draft(), clock).try_acquire()
    clock.advance(20)
    successor = Acquirer([store], draft(), clock)
    successor.recall(predecessor.id, 1000.0)

    lock = successor.try_acquire()

    assert (stored(store.table).id, lock.base) == (lock.id, 1020.0)


def test_a_predecessors_late_delete_spares_its_successors_lock(store, clock):
    """It had given its lock back, and died before it heard that nothing had come of it."""
    predecessor = Acquirer([store], draft(), clock).try_acquire()
    store.on("delete", "late")
    with pytest.raises(StoreUnavailable):
        predecessor.release()
    successor = Acquirer([store], draft(), clock)
    successor.recall(predecessor.id, 1000.0)

    lock = successor.try_acquire()
    store.land_late()

    assert stored(store.table).id == lock.id


def test_a_successor_uses_no_number_that_its_predecessor_may_have_sent(held, store, clock):
    held.renew()
    lease = HeldLease(store, stored(store.table), 1000.0, clock)
    lease.skip_beats(3)

    lease.renew()

    assert stored(store.table).beat == 3


def test_reading_the_record_does_not_lengthen_an_inherited_lease(held, store, clock):
    clock.advance(50)
    lease = HeldLease(store, stored(store.table), 1000.0, clock)

    lease.look()

    assert lease.base == 1000.0


def test_a_predecessors_late_beat_does_not_count_as_the_successors(held, store, clock):
    """Both sent the same number; what landed was the older one."""
    store.on("replace", "before", "late")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            held.renew()
    lease = HeldLease(store, stored(store.table), 1000.0, clock)
    lease.skip_beats(2)
    clock.advance(50)
    store.before_next("replace", store.land_late)

    assert not lease.renew()

    assert lease.base == 1000.0
    assert stored(store.table).beat == 2


def test_beats_go_on_above_a_predecessors_late_one(held, store, clock):
    store.on("replace", "before", "before", "late")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            held.renew()
    lease = HeldLease(store, stored(store.table), 1000.0, clock)
    lease.skip_beats(2)
    store.before_next("replace", store.land_late)
    lease.renew()
    clock.advance(1)

    assert lease.renew()

    assert stored(store.table).beat == 4
