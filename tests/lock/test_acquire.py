"""
Taking a free lock, over a network that loses, delays and repeats.

A docstring that begins with a letter and a number names the row of our list of lock failures that is shown.
"""

from __future__ import annotations

import pytest

from tests.support.fakes import ScriptedStore, T, anothers, draft, expire, put, stored
from tfguard.errors import Conflict, StoreDenied, StoreUnavailable
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.store import LockRecord


def test_a_free_lock_costs_one_read_and_one_write(acquirer, store):
    lock = acquirer.try_acquire()

    assert store.log == ["read", "create"]
    assert stored(store.table).id == lock.id


def test_the_journal_hears_the_id_before_it_is_written(store, clock):
    journal = []
    acquirer = Acquirer(
        [store], draft(), clock, on_trying=lambda lock_id, base: journal.append((lock_id, base, store.log[-1]))
    )

    lock = acquirer.try_acquire()

    assert journal == [(lock.id, 1000.0, "read")]


def test_a_slow_answer_does_not_lengthen_the_lease(acquirer, store):
    store.latency = 2.0

    lock = acquirer.try_acquire()

    assert lock.base == 1004.0  # After the read's two ways, before the write's.


def test_the_record_says_who_and_how_long(acquirer, store):
    acquirer.try_acquire()

    lease = stored(store.table).lease
    assert (lease.beat, lease.duration_ms, lease.holder.who, lease.is_changing) == (0, 180_000, "ana@ci-7", True)


def test_a_write_whose_answer_was_lost_is_recognised_at_once(acquirer, store):
    """A1"""
    store.on("create", "after")

    lock = acquirer.try_acquire()

    assert lock.id == stored(store.table).id
    assert store.log == ["read", "create", "read"]


def test_a_write_that_lands_later_is_recognised_and_counted_from_its_sending(acquirer, store, clock):
    """A1"""
    store.on("create", "late")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    store.land_late()
    clock.advance(5)

    lock = acquirer.try_acquire()

    assert lock.base == 1000.0
    assert store.log.count("create") == 1


def test_our_own_conflict_is_no_rival(acquirer, store, clock):
    """A1: the first copy of our write lands between our look and the second copy."""
    store.on("create", "late")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    clock.advance(5)
    store.before_next("create", store.land_late)

    lock = acquirer.try_acquire()

    assert lock.id == stored(store.table).id
    assert lock.base == 1000.0


def test_a_takeover_whose_answer_was_lost_still_tells_of_the_dead(acquirer, store, clock):
    """A1"""
    dead = anothers(token=7)
    put(store.table, dead)
    expire(acquirer, clock)
    store.on("replace", "after")
    store.on("read", None, "before")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()

    lock = acquirer.try_acquire()

    assert lock.dead == dead


def test_a_write_that_never_arrived_is_sent_again(acquirer, store):
    """A2"""
    store.on("create", "before")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()

    lock = acquirer.try_acquire()

    assert store.log.count("create") == 2
    assert stored(store.table).id == lock.id


def test_a_write_that_is_answered_counts_from_its_own_sending(acquirer, store, clock):
    """A2: an attempt of an hour ago, known not to have landed, does not age the lease."""
    store.on("create", "before")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    clock.advance(3600)

    lock = acquirer.try_acquire()

    assert lock.base == 4600.0


def test_a_lock_that_vanishes_between_write_and_look_is_tried_again_at_once(acquirer, store):
    """A3"""
    store.before_next("create", lambda: put(store.table, anothers()))
    store.before_next("read", lambda: None)
    store.before_next("read", lambda: put(store.table, None))

    lock = acquirer.try_acquire()

    assert stored(store.table).id == lock.id
    assert store.log.count("create") == 2


def test_a_lock_that_keeps_vanishing_is_busy_and_no_error(store, clock):
    """A3"""

    class Flickering(ScriptedStore):
        def create(self, record):
            raise Conflict(self.place)

    acquirer = Acquirer([Flickering(clock=clock)], draft(), clock)

    with pytest.raises(Busy) as busy:
        acquirer.try_acquire()

    assert busy.value.record is None


def test_an_older_write_of_ours_that_keeps_landing_is_cleared_and_not_waited_for(store, clock):
    class Echoing(ScriptedStore):
        def create(self, record):
            put(self.table, older)
            raise Conflict(self.place)

    older = anothers()
    echoing = Echoing(clock=clock)
    acquirer = Acquirer([echoing], draft(), clock)
    acquirer.recall(older.id, 1000.0)

    with pytest.raises(Busy) as busy:
        acquirer.try_acquire()

    assert busy.value.record is None
    assert stored(echoing.table) is None


def test_giving_up_clears_what_a_lost_write_left(acquirer, store):
    """A4"""
    store.on("create", "late")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    store.land_late()

    acquirer.withdraw()

    assert stored(store.table) is None


def test_giving_up_leaves_anothers_lock(acquirer, store):
    """A4"""
    store.on("create", "before")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    rival = anothers()
    put(store.table, rival)

    acquirer.withdraw()

    assert stored(store.table) == rival


def test_giving_up_without_a_write_asks_nothing(acquirer, store):
    put(store.table, anothers())
    with pytest.raises(Busy):
        acquirer.try_acquire()
    store.log.clear()

    acquirer.withdraw()

    assert store.log == []


def test_a_write_that_lands_after_we_gave_up_expires_like_any_other(acquirer, store, clock):
    """A4"""
    store.on("create", "late")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    acquirer.withdraw()
    store.land_late()
    next_one = Acquirer([ScriptedStore(store.table)], draft(), clock)
    expire(next_one, clock)

    lock = next_one.try_acquire()

    assert stored(store.table).id == lock.id


@pytest.mark.parametrize("text", ["", "garbage", "null", "[]", "{}", '{"ID": 7}'])
def test_garbage_is_a_busy_lock_that_never_expires(acquirer, store, clock, text):
    """A5"""
    garbage = LockRecord(text=text, info=None)
    put(store.table, garbage)
    expire(acquirer, clock, seconds=10 * T)

    with pytest.raises(Busy) as busy:
        acquirer.try_acquire()

    assert busy.value.record == garbage
    assert stored(store.table) == garbage


@pytest.mark.parametrize("operation", ["read", "create"])
@pytest.mark.parametrize("fate", ["before", "throttled", "denied", "expired"])
def test_an_error_is_never_a_lock(acquirer, store, operation, fate):
    """A6"""
    store.always(operation, fate)

    with pytest.raises((StoreUnavailable, StoreDenied)):
        acquirer.try_acquire()

    assert stored(store.table) is None
