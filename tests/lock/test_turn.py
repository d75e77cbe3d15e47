"""One waiter's place in line, where answers get lost and machines sleep."""

from __future__ import annotations

import itertools

import pytest

from tests.simulation.actors import request
from tests.support.fakes import FakeClock, ScriptedStore, anothers, put
from tfguard.errors import StoreUnavailable
from tfguard.lock.acquire import Busy
from tfguard.lock.queue import Queue
from tfguard.lock.queue_record import Ticket
from tfguard.lock.store import Holder
from tfguard.lock.turn import Turn
from tfguard.lock.waiting import Waiter


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store():
    return ScriptedStore()


def ticket(name):
    return Ticket(id=name, holder=Holder(who=name))


def test_who_is_passed_over_comes_back_under_his_number_though_nobody_answered_when_he_joined(store, clock):
    line = Turn(Queue(store, clock, clock.advance), ticket("me"), clock)
    others = Queue(store, clock, clock.advance)
    store.on("write_queue", "after")
    line.see_busy("first")
    line.may_try()  # Free for a moment; this reads the line.
    others.change(lambda state: state.joined(ticket("another")).without(["me"]))

    for holder in ("second", "third", "third"):
        clock.advance(5)
        line.see_busy(holder)

    assert [(each.id, each.number) for each in others.read().tickets] == [("me", 1), ("another", 2)]


def test_a_dead_head_is_passed_over_after_a_second_and_leaves_the_line_with_us(store, clock):
    queue = Queue(store, clock, clock.advance)
    queue.change(lambda state: state.joined(ticket("dead")))
    line = Turn(queue, ticket("me"), clock)
    line.see_busy("first")
    answers = []

    for _ in range(5):
        answers.append(line.may_try())
        clock.advance(0.25)

    assert answers == [False, False, False, False, True]
    assert line.leaving == ("me", "dead")


def wait(line, clock, *, seconds, answers):
    """Look at a lock that is held, in time with `answers`, over and over: whether each look has one."""
    until = clock.boottime() + seconds
    for is_answered in itertools.cycle(answers):
        if clock.boottime() >= until:
            return
        clock.advance(0.5)
        if is_answered:
            line.see_busy("first")
        else:
            line.see_nothing(StoreUnavailable("no answer"))


@pytest.fixture
def third(store, clock):
    """The third in line, behind two who never show a sign of life."""
    queue = Queue(store, clock, clock.advance)
    queue.change(lambda state: state.joined(ticket("one")).joined(ticket("two")))
    line = Turn(queue, ticket("me"), clock)
    line.see_busy("first")
    return line


def test_the_dead_are_known_though_every_tenth_look_has_no_answer(third, clock):
    wait(third, clock, seconds=100, answers=[True] * 9 + [False])

    assert third.rank == 0


def test_an_outage_is_nobodys_silence(third, clock):
    wait(third, clock, seconds=30, answers=[True])
    wait(third, clock, seconds=100, answers=[False])
    wait(third, clock, seconds=20, answers=[True])

    assert third.rank == 2


def test_a_queue_record_that_cannot_be_had_is_nobodys_silence(third, store, clock):
    store.always("read_queue", "before")
    store.always("write_queue", "before")
    wait(third, clock, seconds=200, answers=[True])

    assert third.rank == 2


def test_while_the_store_throttles_us_nobody_is_silent(third, store, clock):
    store.always("read_queue", "throttled")
    store.always("write_queue", "throttled")
    wait(third, clock, seconds=200, answers=[True])

    assert third.rank == 2


class Lid:
    """An event that nobody sets. Whoever waits for it sleeps for an hour, as a laptop does."""

    def __init__(self, clock):
        self.clock = clock
        self.naps = 0

    def is_set(self):
        return False

    def wait(self, timeout):
        self.naps += 1
        assert self.naps < 10, "asks again and again, without a pause"
        self.clock.advance(1200)
        return False


def test_a_waiter_that_slept_past_its_time_looks_once_more_and_gives_up(store, clock):
    put(store.table, anothers(lease_seconds=3600))
    lid = Lid(clock)
    queue = Queue(store, clock, clock.advance)
    wanted = request("me", lease=180.0, timeout=600.0, stores=1)
    waiter = Waiter(wanted.lock, [store], clock, queue, post=print, tell=print, cancel=lid)

    with pytest.raises(Busy):
        waiter.wait()

    assert lid.naps == 1
