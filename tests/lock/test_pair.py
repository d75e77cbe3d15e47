"""
A lock in two stores: `.tflock`, then DynamoDB.

A docstring that begins with a letter and a number names the row of our list of lock failures that is shown.
"""

from __future__ import annotations

import pytest

from tests.support.fakes import ScriptedStore, T, anothers, beaten, draft, expire, plain, put, stored
from tests.support.memory import MemoryTable
from tfguard.errors import LeaseLost, StoreUnavailable
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.lease import HeldLease, HeldLock


class Named(list):
    """A store's log that also writes, under the store's name, into one for both."""

    def __init__(self, order, name):
        super().__init__()
        self.order, self.name = order, name

    def append(self, operation):
        super().append(operation)
        self.order.append(f"{self.name} {operation}")


class Pair:
    """Both stores of one lock, as one process reaches them."""

    def __init__(self, clock):
        self.tables = (MemoryTable(), MemoryTable())
        self.order = []
        self.stores = [self._store(table, name, clock) for table, name in zip(self.tables, ("tflock", "dynamodb"))]
        self.tried = []
        self.acquirer = Acquirer(
            self.stores, draft(), clock, on_trying=lambda lock_id, base: self.tried.append(lock_id)
        )

    def _store(self, table, name, clock):
        store = ScriptedStore(table, clock=clock)
        store.log = Named(self.order, name)
        return store

    def ids(self):
        return [record.id if (record := stored(table)) else None for table in self.tables]


@pytest.fixture
def pair(clock):
    return Pair(clock)


def writes(order):
    return [request for request in order if not request.endswith("read")]


def test_both_are_taken_with_one_id_tflock_first(pair):
    lock = pair.acquirer.try_acquire()

    assert pair.ids() == [lock.id, lock.id]
    assert writes(pair.order) == ["tflock create", "dynamodb create"]


@pytest.mark.parametrize("busy", [0, 1])
def test_nothing_is_written_while_one_of_both_is_busy(pair, busy):
    put(pair.tables[busy], anothers())

    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert writes(pair.order) == []


def test_if_the_second_turns_out_busy_the_first_is_given_back_and_its_id_never_used_again(pair):
    rival = anothers()
    pair.stores[1].before_next("create", lambda: put(pair.tables[1], rival))
    with pytest.raises(Busy):
        pair.acquirer.try_acquire()
    assert pair.ids() == [None, rival.id]
    put(pair.tables[1], None)

    lock = pair.acquirer.try_acquire()

    assert lock.id not in pair.tried[:2]


def test_giving_back_half_a_lock_spares_anothers(pair):
    """L2"""
    rivals = anothers(), anothers()

    def intrude():
        for table, rival in zip(pair.tables, rivals):
            put(table, rival)

    pair.stores[1].before_next("create", intrude)

    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert pair.ids() == [rival.id for rival in rivals]


def test_half_a_lock_that_could_not_be_given_back_is_cleared_in_a_later_round(pair):
    """A1: nobody waits for itself."""
    rival = anothers()
    pair.stores[1].before_next("create", lambda: put(pair.tables[1], rival))
    pair.stores[0].on("delete", "before")
    with pytest.raises(Busy):
        pair.acquirer.try_acquire()
    assert pair.ids()[0] not in {None, rival.id}

    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert pair.ids() == [None, rival.id]


@pytest.mark.parametrize("at", [0, 1])
def test_an_answer_lost_in_either_store_is_recognised(pair, at):
    """A1"""
    pair.stores[at].on("create", "after")

    lock = pair.acquirer.try_acquire()

    assert pair.ids() == [lock.id, lock.id]


@pytest.mark.parametrize("at", [0, 1])
def test_an_outage_of_either_store_leaves_nothing(pair, at):
    """A2, A6"""
    pair.stores[at].on("create", "before")

    with pytest.raises(StoreUnavailable):
        pair.acquirer.try_acquire()

    assert pair.ids() == [None, None]
    assert pair.acquirer.try_acquire()


def test_a_dead_lock_in_both_is_taken_after_one_lease_not_two(pair, clock):
    """T1"""
    for table in pair.tables:
        put(table, anothers())
    expire(pair.acquirer, clock)

    lock = pair.acquirer.try_acquire()

    assert pair.ids() == [lock.id, lock.id]
    assert lock.dead


@pytest.mark.parametrize("alive", [0, 1])
def test_each_record_is_judged_by_its_own_silence(pair, clock, alive):
    """T1"""
    records = [anothers(), anothers()]
    for table, record in zip(pair.tables, records):
        put(table, record)
    expire(pair.acquirer, clock)
    put(pair.tables[alive], beaten(records[alive]))

    with pytest.raises(Busy):
        pair.acquirer.try_acquire()

    assert pair.ids() == [record.id for record in records]


def test_a_lock_dead_in_the_second_store_alone_is_taken(pair, clock):
    """T1: its holder died between the two writes of a release."""
    put(pair.tables[1], anothers())
    expire(pair.acquirer, clock)

    lock = pair.acquirer.try_acquire()

    assert pair.ids() == [lock.id, lock.id]


def test_a_plain_lock_in_either_is_never_taken(clock):
    """T5"""
    for at in (0, 1):
        pair = Pair(clock)
        put(pair.tables[1 - at], anothers())
        put(pair.tables[at], plain())
        expire(pair.acquirer, clock, seconds=10 * T)

        with pytest.raises(Busy):
            pair.acquirer.try_acquire()

        assert writes(pair.order) == []


def test_each_record_is_beaten_and_the_earlier_base_counts(pair, clock):
    """R1"""
    lock = pair.acquirer.try_acquire()
    clock.advance(10)
    pair.stores[1].on("replace", "before")

    with pytest.raises(StoreUnavailable):
        lock.renew()

    assert [lease.base for lease in lock.leases] == [1010.0, 1000.0]
    assert lock.base == 1000.0


def test_an_outage_of_the_first_does_not_keep_the_second_from_its_beat(pair, clock):
    """R2"""
    lock = pair.acquirer.try_acquire()
    clock.advance(10)
    pair.stores[0].on("replace", "before")

    with pytest.raises(StoreUnavailable):
        lock.renew()

    assert [lease.base for lease in lock.leases] == [1000.0, 1010.0]


@pytest.mark.parametrize("at", [0, 1])
def test_either_one_gone_is_lost(pair, at):
    """L1"""
    lock = pair.acquirer.try_acquire()
    put(pair.tables[at], None)

    with pytest.raises(LeaseLost) as lost:
        lock.renew()

    assert lost.value.kind == "gone"


@pytest.mark.parametrize("at", [0, 1])
def test_either_one_anothers_is_lost_even_in_an_outage_of_the_other(pair, at):
    """L3"""
    lock = pair.acquirer.try_acquire()
    put(pair.tables[at], anothers())
    pair.stores[1 - at].cut()

    with pytest.raises(LeaseLost) as lost:
        lock.renew()

    assert lost.value.kind == "another's"


@pytest.mark.parametrize("at", [0, 1])
def test_a_release_that_fails_in_one_store_is_finished_by_the_next_call(pair, at):
    """D2"""
    lock = pair.acquirer.try_acquire()
    pair.stores[at].on("delete", "before")
    with pytest.raises(StoreUnavailable):
        lock.release()

    assert lock.release() == "released"
    assert pair.ids() == [None, None]


@pytest.mark.parametrize("at", [0, 1])
def test_a_release_tells_of_the_one_that_was_anothers(pair, at):
    """D4, L2"""
    lock = pair.acquirer.try_acquire()
    rival = anothers()
    put(pair.tables[at], rival)

    result = lock.release()

    assert result == "another's"
    assert pair.ids()[at] == rival.id
    assert pair.ids()[1 - at] is None


def test_the_token_is_written_to_both(pair):
    lock = pair.acquirer.try_acquire()

    lock.renew(token=7)

    assert [stored(table).lease.token for table in pair.tables] == [7, 7]
    assert [lease.record.lease.token for lease in lock.leases] == [7, 7]


def test_later_beats_keep_the_token(held, store):
    held.renew(token=7)

    held.renew()

    assert stored(store.table).lease.token == 7


def test_a_held_lock_has_the_beat_that_is_highest(clock):
    store = ScriptedStore(clock=clock)
    leases = [HeldLease(store, anothers(beat=beat), 1.0, clock) for beat in (3, 5)]

    assert HeldLock(leases).beat == 5


def test_the_journal_counts_from_the_first_of_both_writes(clock):
    """A successor knows one base for both records: the earlier."""
    journal = []
    stores = [ScriptedStore(clock=clock), ScriptedStore(clock=clock)]
    for store in stores:
        store.latency = 1.0
    acquirer = Acquirer(stores, draft(), clock, on_trying=lambda lock_id, base: journal.append(base))

    lock = acquirer.try_acquire()

    assert journal == [lock.leases[0].base] * 2
    assert lock.leases[1].base > lock.leases[0].base
