"""
A lock of Terraform's that has no room for a lease, and its guard: together one lock, with one ID.

The three rules: what bears the ID of an expired guard is dead with it; it is freed before its guard goes; it is looked
at only where that decides something.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.support.fakes import ScriptedStore, T, anothers, draft, expire, plain, put, stored
from tests.support.memory import MemoryTable
from tfguard.clock import boot_id
from tfguard.errors import LeaseLost, StoreUnavailable
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.opened_lock import OpenedLock, without_repetitions


class LockStore(ScriptedStore):
    """One that has no room for a lease."""

    refuses_late_writes = True

    @property
    def needs_guard(self):
        return True

    def create(self, record):
        return super().create(msgspec.structs.replace(record, lease=None))


class Guarded:
    """A guard and a lock, as one process reaches them. `order` names each request in both."""

    def __init__(self, clock, tables=None):
        self.tables = tables or (MemoryTable(), MemoryTable())
        self.guard, self.lock = ScriptedStore(self.tables[0], clock=clock), LockStore(self.tables[1], clock=clock)
        self.stores = [self.guard, self.lock]
        self.acquirer = Acquirer(self.stores, draft(), clock)

    def ids(self):
        return [record.id if (record := stored(table)) else None for table in self.tables]

    def leave_behind(self):
        """Let another run have died with both; return its guard's record."""
        dead = anothers()
        put(self.tables[0], dead)
        put(self.tables[1], msgspec.structs.replace(dead, lease=None))
        return dead


@pytest.fixture
def pair(clock):
    return Guarded(clock)


def test_a_free_lock_is_taken_without_a_look_at_what_has_no_lease(pair):
    held = pair.acquirer.try_acquire()

    assert pair.ids() == [held.id, held.id]
    assert (pair.guard.log, pair.lock.log) == (["read", "create"], ["create"])
    assert stored(pair.tables[1]).lease is None


def test_while_a_run_lives_nobody_looks_at_its_lock(pair, clock):
    pair.leave_behind()

    for _ in range(3):
        with pytest.raises(Busy):
            pair.acquirer.try_acquire()

    assert pair.lock.log == []


def test_a_plain_lock_is_waited_for_and_the_guard_is_given_back(pair, clock):
    theirs = plain()
    put(pair.tables[1], theirs)

    with pytest.raises(Busy) as busy:
        pair.acquirer.try_acquire()
    pair.guard.log.clear()
    clock.advance(10 * T)
    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert busy.value.record == theirs
    assert pair.ids() == [None, theirs.id]
    assert "create" not in pair.guard.log, "once seen, it is looked at before the guard is written"


def test_what_bears_a_dead_guards_id_is_dead_with_it(pair, clock):
    dead = pair.leave_behind()
    expire(pair.acquirer, clock)

    held = pair.acquirer.try_acquire()

    assert pair.ids() == [held.id, held.id]
    assert held.id != dead.id
    assert held.dead == dead


def test_of_a_dead_run_whose_lock_was_freed_by_hand_nothing_but_the_guard_is_taken(pair, clock):
    pair.leave_behind()
    theirs = plain()
    put(pair.tables[1], theirs)
    expire(pair.acquirer, clock)

    with pytest.raises(Busy) as busy:
        pair.acquirer.try_acquire()

    assert busy.value.record == theirs
    assert pair.ids()[1] == theirs.id


@pytest.mark.parametrize("fate", ["before", "after"])
def test_a_guard_stays_until_what_it_guarded_is_freed(pair, clock, fate):
    """Nobody could tell afterwards that it is dead."""
    dead = pair.leave_behind()
    expire(pair.acquirer, clock)
    pair.lock.on("delete", fate)

    with pytest.raises(StoreUnavailable):
        pair.acquirer.try_acquire()
    after_failure = pair.ids()
    held = pair.acquirer.try_acquire()

    assert after_failure[0] == dead.id
    assert pair.ids() == [held.id, held.id]


@pytest.mark.parametrize("fate", ["before", "after", "throttled"])
def test_a_takeover_that_had_to_be_begun_anew_still_tells_who_is_dead(pair, clock, fate):
    dead = pair.leave_behind()
    expire(pair.acquirer, clock)
    pair.lock.on("create", fate)
    for _ in range(4):
        try:
            held = pair.acquirer.try_acquire()
            break
        except (Busy, StoreUnavailable):
            pass

    assert held.dead is not None and held.dead.id == dead.id


def test_who_came_and_went_in_between_is_the_last_that_matters(pair, clock):
    pair.leave_behind()
    expire(pair.acquirer, clock)
    pair.lock.on("create", "before")
    with pytest.raises(StoreUnavailable):
        pair.acquirer.try_acquire()
    other = Acquirer(pair.stores, draft(), clock).try_acquire()
    with pytest.raises(Busy):
        pair.acquirer.try_acquire()
    other.release()

    assert pair.acquirer.try_acquire().dead is None


def test_who_died_between_the_two_halves_of_a_takeover_is_taken_over_in_turn(pair, clock):
    pair.leave_behind()
    expire(pair.acquirer, clock)
    pair.guard.on("replace", "before")
    with pytest.raises(StoreUnavailable):
        pair.acquirer.try_acquire()

    another = Guarded(clock, pair.tables)
    expire(another.acquirer, clock)
    held = another.acquirer.try_acquire()

    assert pair.ids() == [held.id, held.id]


def test_of_two_thieves_one_wins_and_frees_nothing_of_the_others(pair, clock):
    pair.leave_behind()
    another = Guarded(clock, pair.tables)
    for each in (pair, another):
        with pytest.raises(Busy):
            each.acquirer.try_acquire()
    clock.advance(T)
    won = []
    pair.guard.before_next("replace", lambda: won.append(another.acquirer.try_acquire()))

    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert pair.ids() == [won[0].id, won[0].id]


@pytest.mark.parametrize("fate", ["after", "before"])
def test_a_lock_whose_answer_was_lost_leaves_nothing_behind(pair, clock, fate):
    pair.lock.on("create", fate)

    try:
        held = pair.acquirer.try_acquire()
    except StoreUnavailable:
        pair.acquirer.withdraw()
        assert pair.ids() == [None, None]
    else:
        assert pair.ids() == [held.id, held.id]


def test_half_a_lock_that_cannot_be_given_back_keeps_its_guard(pair):
    """The guard tells others who is dead, should we end here."""
    pair.lock.on("create", "after")
    pair.lock.always("read", "before")
    pair.lock.always("delete", "before")

    for attempt in (pair.acquirer.try_acquire, pair.acquirer.withdraw):
        with pytest.raises(StoreUnavailable):
            attempt()
    left = pair.ids()
    pair.lock.heal()
    held = pair.acquirer.try_acquire()

    assert left[0] == left[1]
    assert left == pair.ids() == [held.id, held.id]


def test_a_release_frees_the_lock_before_its_guard(pair):
    held = pair.acquirer.try_acquire()
    pair.lock.on("delete", "before")

    with pytest.raises(StoreUnavailable):
        held.release()
    after_failure = pair.ids()

    assert after_failure == [held.id, held.id]
    assert held.release() == "released"
    assert pair.ids() == [None, None]


def test_a_beat_is_the_guards_and_a_force_unlock_is_seen_with_it(pair, clock):
    held = pair.acquirer.try_acquire()
    clock.advance(1)
    landed = held.renew()
    put(pair.tables[1], None)

    with pytest.raises(LeaseLost) as lost:
        held.renew()

    assert landed
    assert lost.value.kind == "gone"
    assert pair.ids() == [None, None], "nobody has to wait for the end of a lease under which nothing can be written"


def test_where_late_writes_are_taken_the_guard_keeps_others_out_until_its_lease_has_ended(pair):
    pair.lock.refuses_late_writes = False
    held = pair.acquirer.try_acquire()
    put(pair.tables[1], None)

    with pytest.raises(LeaseLost):
        held.renew()

    assert pair.ids() == [held.id, None]


def test_an_outage_of_the_lock_alone_ends_no_lease(pair, clock):
    held = pair.acquirer.try_acquire()
    pair.lock.cut()
    clock.advance(T)

    assert held.renew()
    assert held.base == clock.boottime()


def test_an_operator_sees_one_lock_and_removes_both_halves(pair, clock):
    held = pair.acquirer.try_acquire()
    opened = OpenedLock(pair.stores, Deadlines.of)
    seen = opened.read()
    pair.lock.log.clear()

    opened.remove(seen)

    assert [each.record.id for each in seen] == [held.id, held.id]
    assert [each.record.id for each in without_repetitions(seen)] == [held.id]
    assert without_repetitions(seen)[0].record.lease.boot == boot_id()
    assert pair.ids() == [None, None]


def test_another_lock_under_a_dead_guard_is_shown_beside_it(pair):
    dead = pair.leave_behind()
    theirs = plain()
    put(pair.tables[1], theirs)

    seen = without_repetitions(OpenedLock(pair.stores, Deadlines.of).read())

    assert [each.record.id for each in seen] == [dead.id, theirs.id]


def test_what_is_told_to_unlock_by_force_is_what_is_guarded_never_the_guard(pair, monkeypatch):
    create = LockStore.create
    monkeypatch.setattr(
        LockStore, "create", lambda *asked: msgspec.structs.replace(create(*asked), force_unlock_id="acme/app")
    )

    held = pair.acquirer.try_acquire()

    assert held.force_unlock_id == "acme/app"
