"""
The thread that waits, beats and releases, driven as the keeper drives it, over a scripted store.

Real time here, so the lease is short; nothing is asserted about how fast anything is, save where a second is promised.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.support.eventually import eventually
from tests.support.fakes import LEASE, ScriptedStore, acquire, anothers, put, stored
from tfguard.clock import SystemClock
from tfguard.errors import StoreDenied
from tfguard.lock import protocol, queue_record, refusals
from tfguard.lock.acquire import Acquirer
from tfguard.lock.turn import Turn
from tfguard.process import lease_thread
from tfguard.process.page import Page


class Rig:
    """One worker at a time, its store, and all that it said; each message with the requests that came before it."""

    def __init__(self, store):
        self.store = store
        self.said = []
        self.worker = None

    def start(self, *, adopt=None, **facts):
        self.worker = lease_thread.LeaseThread(
            acquire(**facts), post=self._hear, tell=self._hear, is_watched=lambda: True, adopt=adopt
        )
        self.worker.start()
        return self

    def adopt(self, stage, lock_id, **facts):
        return self.start(adopt=protocol.Adoption(stage=stage, lock_id=lock_id, **facts))

    def _hear(self, message):
        self.said.append((message, list(self.store.log)))

    def all(self, kind):
        return [message for message, _ in list(self.said) if isinstance(message, kind)]

    def hear(self, kind, count=1):
        return eventually(
            lambda: len(self.all(kind)) >= count and self.all(kind)[-1], 30, f"{kind.__name__}: {self.said}"
        )

    def log_before(self, kind):
        return next(log for message, log in self.said if isinstance(message, kind))

    def release(self):
        self.worker.session.release(protocol.Release(outcome="succeeded", exit_code=0))
        self.end()

    def end(self):
        eventually(lambda: not self.worker.is_alive(), 30)


@pytest.fixture
def store():
    return ScriptedStore()


@pytest.fixture
def rig(store, monkeypatch):
    monkeypatch.setattr(lease_thread, "open_store", lambda *_: store)
    rig = Rig(store)
    yield rig
    store.heal()
    rig.worker.session.abandon()
    rig.worker.session.cancel()
    rig.end()


# --- the journal --------------------------------------------------------------------------------------------------


def test_the_journal_names_the_id_before_it_is_written(rig):
    rig.start().hear(protocol.Held)

    assert "create" not in rig.log_before(protocol.Trying)
    assert rig.all(protocol.Trying)[0].lock_id == rig.all(protocol.Held)[0].lock_id


def test_the_journal_says_releasing_before_anything_is_deleted(rig, store):
    rig.start().hear(protocol.Held)

    rig.release()

    assert "delete" not in rig.log_before(protocol.Releasing)
    assert rig.all(protocol.Released)[0].result == "released"
    assert stored(store.table) is None


def test_each_beat_is_told_when_it_has_landed(rig, store):
    rig.start().hear(protocol.Held)

    beaten = rig.hear(protocol.Beaten, count=2)

    assert beaten.base <= SystemClock().boottime()
    assert stored(store.table).beat >= beaten.beat > rig.all(protocol.Held)[0].beat


# --- giving up ----------------------------------------------------------------------------------------------------


def test_a_cancelled_wait_ends_at_once_and_not_at_its_next_look(rig, store, monkeypatch):
    """A7"""
    monkeypatch.setattr(Turn, "pause", lambda _: 3600.0)
    put(store.table, anothers())
    rig.start().hear(protocol.Waiting)

    rig.worker.session.cancel()
    rig.end()

    assert rig.all(protocol.Failed)[0].why == refusals.Interrupted()


def test_a_wait_cancelled_while_a_write_is_in_flight_leaves_nothing(rig, store):
    """A7"""
    with store.hanging("create"):
        rig.start()
        eventually(lambda: "create" in store.log)
        rig.worker.session.cancel()
    rig.end()

    assert rig.all(protocol.Failed)[0].why == refusals.Interrupted()
    assert not rig.all(protocol.Held)
    assert stored(store.table) is None


def test_a_wait_cancelled_after_a_write_with_a_lost_answer_leaves_nothing(rig, store):
    """A7, A4"""
    store.on("create", "after")
    store.on("read", None, "before")
    rig.start().hear(protocol.Waiting)

    rig.worker.session.cancel()
    # A thread that has looked again before it hears of that holds the lock, and is to release it.
    eventually(lambda: rig.all(protocol.Held) or not rig.worker.is_alive(), 30)
    if rig.all(protocol.Held):
        rig.release()
    rig.end()

    assert stored(store.table) is None


def test_one_try_on_a_busy_lock_says_by_whom(rig, store):
    rival = anothers()
    put(store.table, rival)

    rig.start(timeout_seconds=0.0).end()

    assert rig.all(protocol.Failed)[0].why == refusals.Busy(record=rival)


def test_a_refusal_ends_the_wait_at_once(rig, store):
    """A6"""
    store.always("read", "denied")

    rig.start().end()

    assert isinstance(rig.all(protocol.Failed)[0].why, refusals.StoreDenied)


def test_an_outage_is_waited_out(rig, store):
    """A6"""
    store.on("read", "before", "throttled")

    rig.start().hear(protocol.Held)

    assert rig.all(protocol.Waiting)[0].trouble


# --- holding ------------------------------------------------------------------------------------------------------


def test_an_outage_while_holding_is_told_and_survived(rig, store):
    """R2, R6"""
    rig.start().hear(protocol.Held)
    store.on("replace", "before", "expired")

    rig.hear(protocol.Troubled, count=2)
    rig.hear(protocol.Beaten)

    assert not rig.all(protocol.Lost)


@pytest.mark.parametrize(("rival", "kind"), [(None, "gone"), (anothers(), "another's")])
def test_a_loss_is_told_and_nothing_is_touched_afterwards(rig, store, rival, kind):
    """L1, L2, D4"""
    rig.start().hear(protocol.Held)
    put(store.table, rival)

    lost = rig.hear(protocol.Lost)
    rig.end()

    assert (lost.kind, lost.record) == (kind, rival)
    assert stored(store.table) == rival
    assert not rig.all(protocol.Releasing)


def test_an_abandoned_lock_is_left_alone(rig, store):
    """D4"""
    held = rig.start().hear(protocol.Held)

    rig.worker.session.abandon()
    rig.end()

    assert stored(store.table).id == held.lock_id
    assert not rig.all(protocol.Released)


# --- releasing ----------------------------------------------------------------------------------------------------


def test_a_release_is_tried_again(rig, store):
    """D2"""
    rig.start().hear(protocol.Held)
    store.on("delete", "before", "denied")

    rig.release()

    assert rig.all(protocol.Released)[0].result == "released"
    assert [troubled.during for troubled in rig.all(protocol.Troubled)] == ["releasing"] * 2
    assert stored(store.table) is None


def test_a_release_that_never_succeeds_ends_with_the_lease(rig, store):
    """D2"""
    rig.start(lease_seconds=2.0).hear(protocol.Held)
    store.always("delete", "before")

    rig.release()

    assert rig.all(protocol.Released)[0].result == "failed"
    assert rig.all(protocol.Released)[0].error


# --- fencing tokens -----------------------------------------------------------------------------------------------


def test_tokens_only_grow(rig, store):
    tokens = []
    for _ in range(3):
        rig.start()
        held = rig.hear(protocol.Held, count=len(tokens) + 1)
        tokens.append(held.token)
        assert stored(store.table).lease.token == held.token
        rig.release()

    assert tokens == [1, 2, 3]


def test_a_token_is_above_the_dead_holders_though_the_queue_record_is_lost(rig, store):
    put(store.table, anothers(token=41, lease_seconds=0.5))

    held = rig.start().hear(protocol.Held)

    assert held.token == 42
    assert held.dead.lease.token == 41


def test_without_a_queue_record_there_is_no_token_and_still_a_lock(rig, store):
    store.always("read_queue", "denied")
    store.always("write_queue", "denied")

    assert rig.start().hear(protocol.Held).token == 0


def test_a_run_is_in_the_history(rig, store):
    rig.start().hear(protocol.Held)

    rig.release()

    runs = queue_record.decode(store.inner.read_queue().text).runs
    assert [(run.holder.who, run.outcome, run.exit_code) for run in runs] == [("ana@ci-7", "succeeded", 0)]


# --- going on where a dead keeper stopped -------------------------------------------------------------------------


def predecessor(rig, store):
    """A keeper that holds the lock, and then is no more. Gives what its journal says."""
    held = rig.start().hear(protocol.Held)
    rig.worker.session.abandon()
    rig.end()
    rig.said.clear()
    return held


def test_a_successor_in_trying_puts_its_own_lock_in_its_predecessors_place(rig, store):
    held = predecessor(rig, store)

    again = rig.adopt("trying", held.lock_id, base=held.base).hear(protocol.Held)

    assert not rig.all(protocol.Waiting)
    assert stored(store.table).id == again.lock_id != held.lock_id


def test_an_old_lock_that_cannot_be_proven_now_is_kept_and_its_age_told(rig, store, monkeypatch):
    take = Acquirer.try_acquire

    def take_slowly(acquirer):
        lock = take(acquirer)
        lock.leases[0].base -= LEASE / 2
        return lock

    monkeypatch.setattr(Acquirer, "try_acquire", take_slowly)
    store.always("replace", "before")

    held = rig.start().hear(protocol.Held)

    assert SystemClock().boottime() - held.base >= LEASE / 2
    assert stored(store.table).id == held.lock_id
    assert not rig.all(protocol.Failed)


def test_a_successor_in_trying_takes_a_free_lock(rig, store):
    rig.adopt("trying", "an-id-that-was-never-written", base=SystemClock().boottime()).hear(protocol.Held)

    assert stored(store.table) is not None


def test_a_successor_in_held_goes_on_two_beats_further(rig, store):
    held = predecessor(rig, store)

    rig.adopt("held", held.lock_id, beat=held.beat + 5, base=held.base).hear(protocol.Beaten)

    assert rig.all(protocol.Beaten)[0].beat == held.beat + 7
    rig.release()
    assert stored(store.table) is None


def test_a_successor_in_held_counts_from_its_predecessors_base(rig, store):
    held = predecessor(rig, store)
    store.always("replace", "before")
    rig.adopt("held", held.lock_id, beat=held.beat, base=held.base).hear(protocol.Troubled)

    assert not rig.all(protocol.Beaten)


@pytest.mark.parametrize(("rival", "kind"), [(None, "gone"), (anothers(), "another's")])
def test_a_successor_in_held_says_what_it_finds_instead(rig, store, rival, kind):
    held = predecessor(rig, store)
    put(store.table, rival)

    rig.adopt("held", held.lock_id, beat=held.beat, base=held.base).end()

    assert rig.all(protocol.Lost)[0].kind == kind
    assert stored(store.table) == rival


def test_a_lock_never_counts_from_later_than_its_record_says(rig, store):
    """Or a successor would take it for one that came again."""
    held = rig.start().hear(protocol.Held)

    assert held.base <= stored(store.table).lease.sent


def test_a_successor_in_releasing_finishes_the_release(rig, store):
    held = predecessor(rig, store)

    rig.adopt("releasing", held.lock_id, beat=held.beat, base=SystemClock().boottime()).end()

    assert rig.all(protocol.Released)[0].result == "released"
    assert stored(store.table) is None


@pytest.mark.parametrize("rival", [None, anothers()])
def test_to_a_successor_in_releasing_an_absent_record_is_success(rig, store, rival):
    held = predecessor(rig, store)
    put(store.table, rival)

    rig.adopt("releasing", held.lock_id, beat=held.beat, base=held.base).end()

    assert rig.all(protocol.Released)[0].result == "released"
    assert stored(store.table) == rival


def test_a_successor_in_an_outage_keeps_saying_so(rig, store):
    """To the front, a keeper that says nothing is frozen."""
    held = predecessor(rig, store)
    store.always("read", "before")

    told = rig.adopt("held", held.lock_id, beat=held.beat, base=held.base).hear(protocol.Troubled, count=2)

    assert told.during == "holding"
    assert told.error


def test_a_successor_waits_out_an_outage_without_hammering_the_store(rig, store):
    held = predecessor(rig, store)
    store.log.clear()
    store.always("read", "before")
    before = time.monotonic()
    rig.adopt("held", held.lock_id, beat=held.beat, base=held.base)
    eventually(lambda: store.log)

    rig.worker.session.release(protocol.Release(outcome="succeeded"))
    eventually(lambda: len(store.log) >= 3, 30)

    assert len(store.log) <= 3 + (time.monotonic() - before) / 0.5
    store.heal()
    rig.end()
    assert stored(store.table) is None


def refuse_to_open(monkeypatch, store, times):
    """Let the store be opened only after so many failures; gives the list that counts the tries."""
    tries = []

    def open_store(*_):
        tries.append(1)
        if len(tries) <= times:
            raise StoreDenied("No credentials.", action="", resource="")
        return store

    monkeypatch.setattr(lease_thread, "open_store", open_store)
    return tries


def test_a_successor_whose_credentials_come_back_goes_on_beating(rig, store, monkeypatch):
    held = predecessor(rig, store)
    refuse_to_open(monkeypatch, store, times=1)

    rig.adopt("held", held.lock_id, beat=held.beat, base=held.base).hear(protocol.Beaten)

    assert [told.error for told in rig.all(protocol.Troubled)] == ["No credentials."]
    assert not rig.all(protocol.Failed)


def test_a_successor_that_cannot_open_its_store_gives_up_with_the_lease(rig, store, monkeypatch):
    held = predecessor(rig, store)
    refuse_to_open(monkeypatch, store, times=1000)

    rig.adopt("held", held.lock_id, beat=held.beat, base=SystemClock().boottime() - LEASE).end()

    assert isinstance(rig.all(protocol.Failed)[0].why, refusals.StoreDenied)
    assert stored(store.table).id == held.lock_id


class Defect(BaseException):
    """What no code of ours raises on purpose."""


@pytest.mark.parametrize("where", ["replace_environment", "open_store"])
def test_whatever_ends_the_thread_is_posted(rig, monkeypatch, where):
    def broken(*_):
        raise Defect

    monkeypatch.setattr(lease_thread, where, broken)

    rig.start()

    assert rig.hear(Defect)
    rig.end()


@pytest.mark.parametrize(("silence", "is_watched"), [(0.0, True), (lease_thread.UNWATCHED_SECONDS + 1, False)])
def test_a_keeper_that_goes_round_its_loop_no_more_watches_nothing(silence, is_watched):
    page = Page.create()
    page.keeper_seen = SystemClock().boottime() - silence
    lease = lease_thread.Lease(None, page, None)

    assert lease._is_watched() is is_watched
    os.close(page.descriptor)
