"""What a front makes of its page and of a dead keeper; the keeper is one that is only told."""

from __future__ import annotations

import os
import selectors
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tests.simulation.actors import request
from tfguard.guard import messages
from tfguard.guard.front_rules import FROZEN_KEEPER_SECONDS
from tfguard.guard.signals import Received
from tfguard.lock import protocol
from tfguard.process import front as module
from tfguard.process import signal_desk
from tfguard.process.front import Front
from tfguard.process.keeper_link import KeeperLink
from tfguard.process.page import Page


class NotedKeeper:
    """A keeper as its front knows it; `told` is what each one was told, a successor's words in a list of their own."""

    is_last = False
    is_dead_unheard = False
    pid = 0
    lock_fd = -1

    def __init__(self, environ, selector, *, shares_terminal):
        self.page = Page.create()
        self.told = [[]]

    def send(self, message, descriptors=None):
        self.told[-1].append(message)

    hand_over = send

    def restart(self):
        self.told.append([])

    def _nothing(self):
        pass

    bury = flush = kill_frozen = has_worked = begin_anew = _nothing


class NoSignals:
    """Nobody signals us but the test."""

    def __init__(self, on_defect):
        pass

    def take(self):
        return []


@pytest.fixture
def front(monkeypatch):
    """A front whose keeper holds the lock."""
    monkeypatch.setattr(module, "KeeperLink", NotedKeeper)
    monkeypatch.setattr(module, "reap_orphans", lambda kept: None)
    monkeypatch.setattr(module, "become_subreaper", lambda: None)
    monkeypatch.setattr(module, "is_foreground", lambda: True)
    monkeypatch.setattr(signal_desk, "SignalListener", NoSignals)
    monkeypatch.setattr(selectors.DefaultSelector, "register", lambda *_: None)
    made = Front(lambda _: None, {})
    made._request = request("ana", lease=60.0, timeout=60.0, stores=1)
    made._on_keeper(protocol.Held(lock_id="ours", beat=0, base=made._clock.boottime()))
    yield made
    os.close(made._keeper.page.descriptor)


def test_a_successor_hears_of_the_stop_that_its_predecessor_was_asked_for(front):
    front._on_signal(Received(signal.SIGTERM))
    front._on_keeper_gone()

    first, second = front._keeper.told
    assert [type(message) for message in first] == [messages.Interrupt]
    assert [type(message) for message in second] == [messages.Adopt, messages.Interrupt]


def test_a_successor_hears_of_no_stop_that_nobody_asked_for(front):
    front._on_keeper_gone()

    assert [type(message) for message in front._keeper.told[1]] == [messages.Adopt]


def test_a_program_of_which_its_keeper_did_not_live_to_tell_is_handed_on(front, monkeypatch):
    """It had entered itself in the page before it could do anything."""
    monkeypatch.setattr("tfguard.process.family.interrupt", lambda pid: True)
    front._child.is_spawning = True
    front._keeper.page.enter(os.getpid())

    front._on_keeper_gone()

    adopt = front._keeper.told[1][0]
    assert adopt.child == os.getpid()
    assert front._keeper.page.is_signalled


def test_a_program_of_which_a_stopped_keeper_has_not_told_is_frozen_in_time(front, monkeypatch):
    done = []
    monkeypatch.setattr(module.FrontChild, "act", lambda self, action: done.append((self.pid, action.name)))
    front._keeper.page.enter(os.getpid())

    front._enforce()
    front._clock = Later(front._clock.boottime() + 60.0)
    front._enforce()

    assert done == [(os.getpid(), "FREEZE")]


def test_a_keeper_is_dead_though_somebody_holds_its_end_of_the_channel(front):
    """Whom it had forked, and was stopped before it could become anything else."""
    front._on_signal(Received(signal.SIGTERM))
    front._keeper.is_dead_unheard = True
    front._enforce()

    for _ in range(2 * round(FROZEN_KEEPER_SECONDS)):
        front._clock = Later(front._rules._looked_at + 1.0)
        front._enforce()
        front._keeper.is_dead_unheard = len(front._keeper.told) < 2

    assert [type(message) for message in front._keeper.told[1]] == [messages.Adopt, messages.Interrupt]


class Later:
    """A clock that stands."""

    def __init__(self, now):
        self._now = now

    def boottime(self):
        return self._now


@pytest.mark.parametrize("result", [None, "released"])
def test_a_keeper_that_is_busy_goes_on_when_its_front_leaves(front, monkeypatch, result):
    left = []
    monkeypatch.setattr(front._keeper, "leave", lambda *, is_busy: left.append(is_busy), raising=False)
    front._is_keeper_busy = True
    if result is not None:
        front._on_keeper(protocol.Released(result=result))

    front.close()

    assert left == [result is None]


@pytest.mark.parametrize("is_busy", [False, True])
def test_who_leaves_while_its_keeper_is_busy_leaves_it_the_runs_folder(is_busy):
    class Channel:
        def close(self):
            pass

    link = KeeperLink.__new__(KeeperLink)
    link.page, link.channel = Page.create(), Channel()
    folder = link.folder()
    assert (os.stat(folder).st_mode & 0o777, link.folder()) == (0o700, folder)

    link.leave(is_busy=is_busy)

    assert (os.path.isdir(folder), link.page.front) == (is_busy, 0)
    link.page.remove_folder()
    os.close(link.page.descriptor)


def test_a_signal_is_heard_before_the_end_that_it_has_brought_about() -> None:
    """Both wait to be read where we are slow; once nothing runs any more, nobody says that it is stopping."""
    heard: list[str] = []
    front: Any = object.__new__(Front)
    front._signals = SimpleNamespace(take=lambda: ["signal"])
    channel, signals = SimpleNamespace(fileobj="channel"), SimpleNamespace(fileobj=front._signals)
    front._selector = SimpleNamespace(select=lambda _: [(channel, 1), (signals, 1)])
    front._on_signal, front._on_channel = heard.append, lambda: heard.append("end")
    front._enforce = front._reap_inherited = front._tell_defects = lambda: None

    front._pump(lambda: bool(heard) or None)

    assert heard == ["signal", "end"]


def test_what_a_program_has_left_belongs_to_the_lock_under_which_it_ran(front):
    front._left.note(-signal.SIGKILL, "")

    front.start_over()

    assert not front._left.is_possible(0)
