"""What a sentinel does at each look, on a clock of the test's and with a program that is only noted."""

from __future__ import annotations

import os
import socket
import time

import pytest

from tests.support.eventually import patience
from tfguard.process import sentinel
from tfguard.process.page import Page

#: Nobody's: above the highest that a kernel gives.
PID = 4_999_999
_LONGEST = sentinel._LONGEST_SECONDS


class NotedRelatives:
    """The program and its relatives, to whom all that is noted here was done."""

    def __init__(self, done):
        self.freeze, self.thaw, self.kill = (lambda name=name: done.append(name) for name in ("freeze", "thaw", "kill"))


class Scene:
    """`done` is what was done to the program; `keeper` is the keeper's end."""

    def __init__(self):
        self.page = Page.create()
        self.done = []
        self.lifeline, self._life = os.pipe()
        self.keeper, self._end = socket.socketpair()
        self._end.setblocking(False)
        self.watch = self.sentinel()

    def sentinel(self):
        watch = sentinel.Watch(self._end, self.page, self.lifeline)
        watch._relatives = NotedRelatives(self.done)
        return watch

    def look(self, now):
        """One look; gives what was done in it."""
        self.done.clear()
        self.watch._enforce(PID, now)
        return list(self.done)

    def kill_keeper(self):
        self.keeper.close()
        assert not self.watch._is_dismissed()

    def kill_front(self):
        os.close(self._life)
        self._life = -1

    def close(self):
        self.keeper.close()
        self._end.close()
        for each in (self.page.descriptor, self.lifeline, self._life):
            if each >= 0:
                os.close(each)


@pytest.fixture
def scene(monkeypatch):
    made = Scene()
    monkeypatch.setattr(sentinel.family, "interrupt", lambda pid: made.done.append("interrupt"))
    made.page.safe_until = 100.0
    yield made
    made.close()


def test_from_safe_until_on_it_is_frozen_at_every_look_though_front_and_keeper_live(scene):
    assert [scene.look(now) for now in (99.0, 100.0, 100.25)] == [[], ["freeze"], ["freeze"]]


def test_a_beat_that_lands_after_all_lets_it_go_on_once(scene):
    scene.look(100.0)
    scene.page.safe_until = 110.0

    assert [scene.look(now) for now in (101.0, 102.0)] == [["thaw"], []]


def test_what_others_have_frozen_is_not_thawed(scene):
    assert scene.look(50.0) == []


def test_what_stays_frozen_for_too_long_is_killed(scene):
    scene.page.freeze_timeout = 30.0

    assert [scene.look(now) for now in (100.0, 129.0, 130.0)] == [["freeze"], ["freeze"], ["freeze", "kill"]]


def test_a_dead_keepers_program_is_asked_to_stop_once(scene):
    scene.kill_keeper()

    assert [scene.look(now) for now in (50.0, 51.0)] == [["interrupt"], []]


def test_a_keeper_is_dead_though_somebody_holds_its_end_of_the_socket(scene, monkeypatch):
    """Whom it had forked, and was stopped before it could become anything else."""
    monkeypatch.setattr(os, "getppid", lambda: 1)

    assert scene.look(50.0) == ["interrupt"]


def test_one_that_came_later_does_not_ask_again(scene):
    scene.kill_keeper()
    scene.look(50.0)
    scene.watch = scene.sentinel()
    scene.kill_keeper()

    assert scene.look(51.0) == []


def test_a_keeper_that_dies_with_something_unread_is_no_less_dead(scene):
    scene.watch._end.send(b"T")

    scene.kill_keeper()

    assert scene.look(50.0) == ["interrupt"]


def test_as_long_as_the_front_lives_what_is_frozen_is_not_killed(scene):
    scene.kill_keeper()

    assert [scene.look(now) for now in (100.0, 200.0)] == [["freeze", "interrupt"], ["freeze"]]


def test_where_nobody_is_left_to_thaw_it_it_is_killed_with_all_of_its_own(scene):
    scene.kill_keeper()
    scene.kill_front()

    assert scene.look(100.0) == ["freeze", "interrupt", "kill"]


def test_that_nobody_else_is_left_is_seen_at_once(scene, monkeypatch):
    """The kernel lets a stopped group go on that is orphaned: no tick may pass until we look."""
    monkeypatch.setattr(sentinel, "_TICK_SECONDS", patience(1))
    scene.kill_keeper()
    scene.kill_front()

    began = time.monotonic()
    scene.watch._wait()

    assert time.monotonic() - began < patience(0.5)


def test_once_it_was_seen_each_look_waits_for_its_tick(scene):
    scene.kill_keeper()
    scene.kill_front()
    scene.look(50.0)

    assert scene.watch._wait() == []


def test_what_outlives_all_of_ours_is_killed_in_the_end(scene):
    scene.page.safe_until = float("inf")
    scene.kill_keeper()
    scene.kill_front()

    assert [scene.look(now) for now in (50.0, 49.0 + _LONGEST, 50.0 + _LONGEST)] == [["interrupt"], [], ["kill"]]


def test_a_keepers_words_to_one_that_was_stopped_make_nobody_wait(monkeypatch):
    """Nor does any raise: there is room for some, and the others are lost."""
    monkeypatch.setattr(sentinel.bare, "command", lambda *_: ["sleep", "60"])
    page = Page.create()
    keeper = sentinel.Sentinel(page)

    for _ in range(3000):
        keeper.hold([page.descriptor])
    keeper.dismiss()

    assert not keeper._socket.getblocking()
    keeper.kill()
    keeper._process.wait()
    keeper.close()
    os.close(page.descriptor)


def test_on_a_terminal_it_joins_the_programs_group_after_it_and_tells_what_reaches_it_there(scene, monkeypatch):
    joined = []
    monkeypatch.setattr(sentinel.os, "setpgid", lambda *call: joined.append(call))
    scene.page.group = 77

    for pid in (0, PID, PID, 0):
        scene.watch._stand_beside(pid)
        scene.watch.pass_on(15, None)

    assert joined == [(0, 77), (0, 0)]
    told = scene.keeper.recv(1024)
    assert [each[1] for each in sentinel._HEARD.iter_unpack(told)] == [0, PID, PID, 0]


def test_without_a_terminal_it_joins_none(scene, monkeypatch):
    monkeypatch.setattr(sentinel.os, "setpgid", pytest.fail)

    scene.watch._stand_beside(PID)


@pytest.mark.parametrize("is_front_alive", [True, False])
def test_the_last_of_ours_removes_the_runs_folder(scene, tmp_path, is_front_alive):
    folder = tmp_path / "tfguard-x"
    folder.mkdir()
    scene.page.folder = str(folder)
    scene.kill_keeper()
    if not is_front_alive:
        scene.kill_front()

    scene.watch.run()

    assert folder.exists() == is_front_alive
