"""
A busy lock: who may take it, and when.

A docstring that begins with a letter and a number names the row of our list of lock failures that is shown.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.support.fakes import ScriptedStore, T, anothers, beaten, draft, expire, plain, put, stored
from tfguard.errors import LeaseLost, StoreUnavailable
from tfguard.lock.acquire import Acquirer, Busy, Watch, may_take_over


def test_a_beating_lock_is_waited_for_for_ever(acquirer, store, clock):
    record = anothers()
    for _ in range(100):
        put(store.table, record)
        with pytest.raises(Busy):
            acquirer.try_acquire()
        clock.advance(T * 0.99)
        record = beaten(record)

    assert "replace" not in store.log


def test_a_silent_lock_is_taken_after_one_lease_and_not_before(acquirer, store, clock):
    """T1"""
    dead = anothers()
    put(store.table, dead)
    expire(acquirer, clock, seconds=T - 0.001)
    with pytest.raises(Busy):
        acquirer.try_acquire()
    clock.advance(0.001)

    lock = acquirer.try_acquire()

    assert lock.dead == dead
    assert lock.id not in {dead.id, ""}


def test_silence_is_counted_from_the_answer_not_from_the_question(acquirer, store, clock):
    """T1: the holder may have beaten while our question was on its way."""
    put(store.table, anothers())
    store.latency = 3.0
    with pytest.raises(Busy):
        acquirer.try_acquire()
    store.latency = 0.0
    clock.advance(T - 1)

    with pytest.raises(Busy):
        acquirer.try_acquire()

    clock.advance(1)
    acquirer.try_acquire()


def test_silence_goes_on_through_an_outage_of_the_waiter(acquirer, store, clock):
    """T1: what was the same before and after did not beat."""
    put(store.table, anothers())
    with pytest.raises(Busy):
        acquirer.try_acquire()
    clock.advance(T / 2)
    store.on("read", "before")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    clock.advance(T / 2)

    assert acquirer.try_acquire().dead


def test_a_renewal_that_comes_first_keeps_the_lock(acquirer, store, clock):
    """T2"""
    record = anothers()
    put(store.table, record)
    expire(acquirer, clock)
    store.before_next("replace", lambda: put(store.table, beaten(record)))

    with pytest.raises(Busy) as busy:
        acquirer.try_acquire()

    assert busy.value.record == beaten(record)
    assert stored(store.table) == beaten(record)


def test_a_renewal_that_comes_second_is_told_whose_the_lock_is(store, held, clock):
    """T2, L3"""
    thief = Acquirer([ScriptedStore(store.table)], draft(), clock)
    expire(thief, clock)
    store.before_next("replace", thief.try_acquire)

    with pytest.raises(LeaseLost) as lost:
        held.renew()

    assert lost.value.kind == "another's"
    assert lost.value.record == stored(store.table)


@pytest.mark.parametrize("count", [2, 10])
def test_of_many_thieves_one_wins_and_the_others_start_anew(store, clock, count):
    """T3"""
    put(store.table, anothers())
    thieves = [Acquirer([ScriptedStore(store.table)], draft(), clock) for _ in range(count)]
    for thief in thieves:
        expire(thief, clock, seconds=0)
    clock.advance(T)

    winners = []
    for thief in thieves:
        try:
            winners.append(thief.try_acquire())
        except Busy:
            assert thief.watches[0].expires_in(clock.boottime()) == T

    assert [winner.id for winner in winners] == [stored(store.table).id]


def test_a_thief_that_comes_second_between_look_and_write_waits_on(acquirer, store, clock):
    """T3"""
    put(store.table, anothers())
    other = Acquirer([ScriptedStore(store.table)], draft(), clock)
    expire(acquirer, clock, seconds=0)
    expire(other, clock)
    store.before_next("replace", other.try_acquire)

    with pytest.raises(Busy):
        acquirer.try_acquire()

    assert acquirer.watches[0].expires_in(clock.boottime()) == T


@pytest.mark.parametrize("mine", [T / 10, T * 10])
def test_the_records_lease_counts_not_the_waiters(store, clock, mine):
    """T4"""
    waiter = Acquirer([store], draft(lease_seconds=mine), clock)
    put(store.table, anothers(lease_seconds=T))
    expire(waiter, clock, seconds=T - 1)
    with pytest.raises(Busy):
        waiter.try_acquire()
    clock.advance(1)

    assert waiter.try_acquire().dead


def test_a_plain_terraform_lock_is_never_taken(acquirer, store, clock):
    """T5"""
    put(store.table, plain())
    expire(acquirer, clock, seconds=100 * T)

    with pytest.raises(Busy) as busy:
        acquirer.try_acquire()

    assert not busy.value.is_expired
    assert acquirer.watches[0].expires_in(clock.boottime()) == float("inf")


def test_a_hold_made_by_hand_does_not_expire_by_silence(acquirer, store, clock):
    put(store.table, anothers(hold_until="2026-11-20T12:00:00Z"))
    expire(acquirer, clock, seconds=100 * T)

    with pytest.raises(Busy):
        acquirer.try_acquire()


@pytest.mark.parametrize("policy", ["always", "plan-only", "never"])
def test_a_hold_ends_a_minute_after_its_time_by_the_stores_clock(store, clock, policy):
    acquirer = Acquirer([store], draft(), clock, policy=policy)
    put(store.table, anothers(hold_until="2026-11-20T12:00:00Z"))
    store.date = datetime(2026, 11, 20, 12, 0, 59, tzinfo=timezone.utc)
    clock.jump(1e9)
    with pytest.raises(Busy):
        acquirer.try_acquire()
    store.date += timedelta(seconds=1)

    lock = acquirer.try_acquire()

    assert lock.dead is not None


def test_a_runs_lock_never_ends_by_the_stores_clock(acquirer, store, clock):
    put(store.table, anothers())
    store.date = datetime(2100, 1, 1, tzinfo=timezone.utc)

    with pytest.raises(Busy):
        acquirer.try_acquire()


def test_a_lock_long_dead_is_not_taken_on_first_sight(acquirer, store, clock):
    """T6"""
    clock.advance(1_000_000)
    put(store.table, anothers())

    with pytest.raises(Busy):
        acquirer.try_acquire()


def test_no_wall_clock_is_ever_compared(acquirer, store, clock):
    """T7"""
    put(store.table, anothers())
    expire(acquirer, clock, seconds=T - 1)

    for jump in (3600, -7200, 86400):
        clock.jump(jump)
        with pytest.raises(Busy):
            acquirer.try_acquire()

    clock.advance(1)
    assert acquirer.try_acquire().dead


def test_each_takeover_has_a_fresh_id(store, clock):
    """An ID that was sent before may still be on its way."""
    tried = []
    acquirer = Acquirer([store], draft(), clock, on_trying=lambda lock_id, base: tried.append(lock_id))
    put(store.table, anothers())
    expire(acquirer, clock)
    store.on("replace", "before", "before")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            acquirer.try_acquire()

    acquirer.try_acquire()

    assert len(set(tried)) == len(tried) == 3


def test_an_older_id_of_ours_that_turns_up_is_cleared_away(acquirer, store, clock):
    """Nobody waits for itself."""
    put(store.table, anothers())
    expire(acquirer, clock)
    store.on("replace", "late")
    with pytest.raises(StoreUnavailable):
        acquirer.try_acquire()
    store.before_next("replace", store.land_late)

    lock = acquirer.try_acquire()

    assert stored(store.table).id == lock.id


def test_the_policy_decides_over_an_expired_lock(store, clock):
    waiter = Acquirer([store], draft(), clock, policy="never")
    dead = anothers()
    put(store.table, dead)
    expire(waiter, clock)

    with pytest.raises(Busy) as busy:
        waiter.try_acquire()

    assert busy.value.is_expired
    assert stored(store.table) == dead


@pytest.mark.parametrize(
    ("policy", "was_changing", "is_changing", "expected"),
    [
        ("always", True, True, True),
        ("always", False, False, True),
        ("plan-only", True, True, False),
        ("plan-only", True, False, True),
        ("plan-only", False, True, True),
        ("plan-only", False, False, True),
        ("never", True, False, False),
        ("never", False, False, False),
    ],
)
def test_who_may_take_over_what(policy, was_changing, is_changing, expected):
    assert may_take_over(policy, anothers(is_changing=was_changing), is_changing=is_changing) is expected


def test_a_watch_starts_anew_when_a_lock_goes_and_comes():
    record = anothers()
    watch = Watch()
    watch.see(record, 0.0)
    watch.see(None, 10.0)

    watch.see(record, 20.0)

    assert watch.expires_in(20.0) == T


def test_a_watch_that_has_seen_nothing_is_not_expired():
    assert not Watch().is_expired(1e9)
