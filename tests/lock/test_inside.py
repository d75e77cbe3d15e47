"""A run inside another tfguard: under its lock while that lives, and when it is its turn."""

from __future__ import annotations

import msgspec
import pytest

from tests.lock.test_session import Event, WaitingClock
from tests.support.fakes import ScriptedStore, T, acquire, changed, draft, put, stored
from tfguard.lock import protocol, refusals
from tfguard.lock.acquire import Acquirer
from tfguard.lock.inside import Inside
from tfguard.lock.waiting import Failure

AHEAD = protocol.Sibling(who="ana", command="apply", pid=4711)


class Nest:
    """Somebody is in it for `busy` looks."""

    def __init__(self, busy=0, on_enter=lambda: None):
        self.ahead = None
        self.looks = 0
        self.is_in = False
        self._busy = busy
        self._on_enter = on_enter

    def fileno(self):
        return 7 if self.is_in else -1

    def try_enter(self):
        self.looks += 1
        self.is_in = self.looks > self._busy
        self.ahead = None if self.is_in else AHEAD
        if self.is_in:
            self._on_enter()
        return self.is_in

    def leave(self):
        self.is_in = False


class Scene:
    """Our parent holds the lock, and has just beaten it."""

    def __init__(self):
        self.clock = WaitingClock()
        self.store = ScriptedStore(clock=self.clock)
        self.outer = Acquirer([self.store], draft(), self.clock).try_acquire()
        self.said = []
        self.cancel = Event(self.clock)

    def enter(self, nest, *, nested_id="", timeout=60.0):
        asked = changed(acquire(), timeout_seconds=timeout, nested_id=nested_id or self.outer.id).lock
        return Inside(asked, [self.store], self.clock, nest, post=self.said.append, cancel=self.cancel).enter()


@pytest.fixture
def scene():
    return Scene()


def test_our_parents_lock_is_enough_when_it_is_our_turn(scene):
    nest = Nest(busy=3)

    found = scene.enter(nest)

    assert found is not None and found.id == scene.outer.id
    assert nest.is_in
    assert [message.ahead for message in scene.said] == [AHEAD] * 3


def test_nothing_is_waited_for_under_a_lock_that_is_not_our_parents(scene):
    nest = Nest()

    assert scene.enter(nest, nested_id="stale") is None
    assert nest.looks == 0


def test_a_lock_that_is_lost_while_we_wait_is_not_enough(scene):
    nest = Nest(busy=2, on_enter=lambda: put(scene.store.table, None))

    assert scene.enter(nest) is None
    assert not nest.is_in


@pytest.mark.parametrize("fact", ["boot", "silence"])
def test_a_dead_parents_lock_is_not_enough(scene, fact):
    record = stored(scene.store.table)
    if fact == "boot":
        lease = msgspec.structs.replace(record.lease, boot="another")
        put(scene.store.table, msgspec.structs.replace(record, lease=lease))
    else:
        scene.clock.advance(T / 3 + 1)

    assert scene.enter(Nest()) is None


def test_who_waits_too_long_says_for_whom(scene):
    nest = Nest(busy=10**6)

    with pytest.raises(Failure) as failed:
        scene.enter(nest, timeout=5.0)

    assert failed.value.why == refusals.NotOurTurn(who="ana", command="apply", pid=4711)
    assert scene.clock.boottime() == pytest.approx(1005, abs=1)


def test_a_stop_ends_the_wait(scene):
    scene.cancel.set()

    with pytest.raises(Failure) as failed:
        scene.enter(Nest(busy=10**6))

    assert failed.value.why == refusals.Interrupted()
