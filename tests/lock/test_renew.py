"""
Heartbeats, and what they find.

A docstring that begins with a letter and a number names the row of our list of lock failures that is shown.
"""

from __future__ import annotations

import pytest

from tests.lock.conftest import beat_unheard
from tests.support.fakes import ScriptedStore, T, anothers, draft, put, stored
from tfguard.errors import LeaseLost, StoreDenied, StoreUnavailable
from tfguard.lock.acquire import Acquirer
from tfguard.lock.store import LockRecord


def test_a_beat_moves_the_lease_to_the_instant_of_its_sending(held, store, clock):
    clock.advance(10)
    store.latency = 2.0

    assert held.renew()

    assert (held.beat, held.base) == (1, 1010.0)


def test_a_beat_changes_nothing_of_terraforms_own_text(held, store, clock):
    before = stored(store.table).text
    clock.advance(10)

    held.renew()

    assert stored(store.table).text == before


@pytest.mark.parametrize("times", [1, 3, 30])
def test_a_beat_whose_answer_was_lost_counts_once_it_is_read(held, store, clock, times):
    """R1, R7"""
    store.on("replace", *["after"] * times)
    for _ in range(times):
        clock.advance(10)
        assert held.renew()

    assert held.base == 1000.0 + 10 * times


def test_a_beat_that_cannot_be_confirmed_does_not_count(held, store, clock):
    """R1"""
    clock.advance(10)

    beat_unheard(held, store)

    assert held.base == 1000.0


def test_a_beat_confirmed_later_counts_from_its_own_sending(held, store, clock):
    """R1: not from the sending of the beat that found it."""
    clock.advance(10)
    beat_unheard(held, store)
    clock.advance(10)
    store.on("replace", "before")

    assert held.renew()

    assert held.base == 1010.0


def test_the_beat_after_one_that_landed_unheard_is_no_loss(held, store, clock):
    """R1: its condition fails on our own earlier write."""
    clock.advance(10)
    beat_unheard(held, store)
    clock.advance(10)

    assert held.renew()
    assert held.base == 1010.0
    clock.advance(1)
    assert held.renew()
    assert held.base == 1021.0


def test_a_dropped_beat_leaves_the_lease_where_it_was(held, store, clock):
    """R2"""
    store.on("replace", "before", "before")
    for _ in range(2):
        clock.advance(10)
        with pytest.raises(StoreUnavailable):
            held.renew()

    assert held.base == 1000.0
    assert held.renew()
    assert held.base == 1020.0


def test_a_late_copy_of_an_old_beat_changes_nothing(held, store, clock):
    """R4"""
    store.on("replace", "twice")
    for _ in range(3):
        clock.advance(10)
        held.renew()
    beat = stored(store.table).beat

    store.land_late()

    assert stored(store.table).beat == beat == 3


def test_a_late_beat_does_not_revive_a_lock_that_was_unlocked(held, store, clock):
    """R4, L1"""
    store.on("replace", "late")
    clock.advance(10)
    with pytest.raises(StoreUnavailable):
        held.renew()
    put(store.table, None)

    store.land_late()

    assert stored(store.table) is None


def test_a_late_first_write_does_not_hide_that_the_lock_was_unlocked(acquirer, store, clock):
    """R4, L1: the create arrives a second time, after the force-unlock."""
    store.on("create", "twice")
    lock = acquirer.try_acquire()
    lock.renew()
    put(store.table, None)
    store.land_late()
    clock.advance(10)

    with pytest.raises(LeaseLost) as lost:
        lock.renew()

    assert lost.value.kind == "gone"


def test_beat_numbers_are_never_used_twice(held, store, clock):
    """R4"""
    sent = []
    replace = store.inner.replace
    store.inner.replace = lambda seen, record: sent.append(record.beat) or replace(seen, record)
    store.on("replace", "before", "late", "after", None, "before")
    for _ in range(10):
        clock.advance(1)
        try:
            held.renew()
        except StoreUnavailable:
            store.land_late()

    assert sorted(set(sent)) == sorted(sent)


def test_denied_is_not_lost(held, store, clock):
    """R6"""
    clock.advance(10)
    store.on("replace", "expired")

    with pytest.raises(StoreDenied) as denied:
        held.renew()

    assert denied.value.is_expired
    assert held.renew()


def test_a_lock_without_a_lease_is_always_fresh(clock):
    store = ScriptedStore(clock=clock)
    store.has_leases = False
    lock = Acquirer([store], draft(), clock).try_acquire()
    clock.advance(1_000_000)
    store.log.clear()

    assert lock.renew()

    assert lock.base == clock.boottime()
    assert store.log == []
    assert stored(store.table).lease is None


def test_a_lock_that_somebody_unlocked_is_lost_and_not_written_again(held, store):
    """L1"""
    put(store.table, None)

    with pytest.raises(LeaseLost) as lost:
        held.renew()

    assert lost.value.kind == "gone"
    assert stored(store.table) is None


def test_anothers_lock_is_not_deleted_by_our_release(held, store):
    """L2"""
    rival = anothers()
    put(store.table, rival)

    result = held.release()

    assert result == "another's"
    assert stored(store.table) == rival


def test_between_two_who_believe_the_store_decides(held, store, clock):
    """L3: our beat was sent first and lands after the rival's write."""
    rival = anothers()
    clock.advance(10)
    store.before_next("replace", lambda: put(store.table, rival))

    with pytest.raises(LeaseLost) as lost:
        held.renew()

    assert lost.value.record == rival
    assert stored(store.table) == rival


def test_garbage_in_place_of_our_record_is_anothers(held, store):
    put(store.table, LockRecord(text="garbage", info=None))

    with pytest.raises(LeaseLost) as lost:
        held.renew()

    assert lost.value.kind == "another's"


def test_a_beat_proves_that_nobody_was_in_between(held, store, clock):
    """However long we slept."""
    clock.advance(100 * T)

    assert held.renew()
