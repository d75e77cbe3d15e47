"""One waiter's place in line, where answers get lost and machines sleep."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock, ScriptedStore, anothers, put
from tests.simulation.actors import request
from tfguard.lease import Busy
from tfguard.ledger import Ledger
from tfguard.line import Line
from tfguard.queue import Ticket
from tfguard.store import Holder
from tfguard.waiting import Waiter


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store():
    return ScriptedStore()


def ticket(name):
    return Ticket(id=name, holder=Holder(who=name))


def test_who_is_passed_over_comes_back_under_his_number_though_nobody_answered_when_he_joined(store, clock):
    line = Line(Ledger(store, clock, clock.advance), ticket("me"), clock)
    others = Ledger(store, clock, clock.advance)
    store.on("write_queue", "after")
    line.see_busy("first")
    line.may_try()  # Free for a moment; this reads the line.
    others.change(lambda state: state.joined(ticket("another")).without(["me"]))

    for holder in ("second", "third", "third"):
        clock.advance(5)
        line.see_busy(holder)

    assert [(each.id, each.number) for each in others.read().tickets] == [("me", 1), ("another", 2)]


def test_a_dead_head_is_passed_over_after_a_second_and_leaves_the_line_with_us(store, clock):
    ledger = Ledger(store, clock, clock.advance)
    ledger.change(lambda state: state.joined(ticket("dead")))
    line = Line(ledger, ticket("me"), clock)
    line.see_busy("first")
    answers = []

    for _ in range(5):
        answers.append(line.may_try())
        clock.advance(0.25)

    assert answers == [False, False, False, False, True]
    assert line.leaving == ("me", "dead")


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
        self.clock.advance(3600)
        return False


def test_a_waiter_that_slept_past_its_time_looks_once_more_and_gives_up(store, clock):
    put(store.table, anothers(lease_seconds=7200))
    lid = Lid(clock)
    ledger = Ledger(store, clock, clock.advance)
    wanted = request("me", lease=180.0, timeout=600.0, stores=1)
    waiter = Waiter(wanted, [store], clock, ledger, post=print, tell=print, cancel=lid)

    with pytest.raises(Busy):
        waiter.wait()

    assert lid.naps == 1
