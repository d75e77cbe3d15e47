"""The last line of defence: a real sentinel over real processes, whatever has become of front and keeper."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.eventually import eventually, patience
from tfguard.clock import SystemClock
from tfguard.process import family, sentinel
from tfguard.process.page import Page
from tfguard.process.relatives import Kin, Relatives
from tfguard.process.sentinel_post import SentinelPost

#: Tells each SIGINT that it gets, and stops at none.
DEAF = """
import os, signal, sys, time
def note(*_): os.write(1, b"SIGINT\\n")
signal.signal(signal.SIGINT, note)
os.write(1, b"ready\\n")
while True: time.sleep(0.01)
"""


class Scene:
    """A program, its page, the lifeline of front and keeper, and a sentinel. `keeper` is a keeper's end of it."""

    def __init__(self) -> None:
        self.page = Page.create()
        self.lifeline, self._life = os.pipe()
        self.keeper = sentinel.Sentinel(self.page, self.lifeline)
        self.process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=True)
        self.page.enter(self.process.pid)
        assert self.process.stdout.readline() == b"ready\n"
        os.set_blocking(self.process.stdout.fileno(), False)
        self.heard = b""

    @property
    def now(self) -> float:
        return SystemClock().boottime()

    def kill_keeper(self) -> None:
        """Its end of the socket closes with it."""
        self.keeper._socket.shutdown(socket.SHUT_RDWR)
        self.keeper.close()

    def kill_front(self) -> None:
        os.close(self._life)
        self._life = -1

    def state(self) -> str:
        found = family.stat(self.process.pid)
        return found.state if found else ""

    def signals(self) -> int:
        self.heard += self.process.stdout.read() or b""
        return self.heard.count(b"SIGINT")

    def is_killed(self) -> bool:
        return self.process.poll() == -signal.SIGKILL

    def close(self) -> None:
        for process in (self.process, self.keeper._process):
            process.kill()
            process.wait(patience(30))
        self.process.stdout.close()
        self.keeper.close()
        for end in (self.page.descriptor, self.lifeline, self._life):
            if end >= 0:
                os.close(end)


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.close()


def looks(times: int = 4) -> None:
    """Let a sentinel look at the clock some times. Only what must not happen is waited for like this."""
    time.sleep(times * 0.3)


def test_a_keeper_that_dies_leaves_its_program_one_signal(scene):
    scene.kill_keeper()

    eventually(lambda: scene.signals() == 1)
    looks()
    assert scene.signals() == 1


def test_a_program_that_has_had_its_signal_gets_none(scene):
    scene.page.claim_signal()

    scene.kill_keeper()

    looks()
    assert scene.signals() == 0


def test_of_two_sentinels_whose_keeper_dies_one_signals(scene):
    """One that was raised above it, say, while the other was still on its way out."""
    second = sentinel.Sentinel(scene.page, scene.lifeline)

    scene.kill_keeper()
    second.close()

    eventually(lambda: scene.signals() == 1)
    looks()
    assert scene.signals() == 1
    second._process.kill()
    second._process.wait(patience(30))


def test_a_keeper_that_dies_with_something_unread_is_no_less_dead(scene):
    """Its socket is reset then, and does not end."""
    scene.keeper._process.send_signal(signal.SIGTERM)
    eventually(lambda: scene.keeper._socket.recv(1, socket.MSG_PEEK))

    scene.keeper.close()

    eventually(lambda: scene.signals() == 1)


@pytest.mark.parametrize("dead", [(), ("kill_keeper",), ("kill_front",)], ids=["both live", "no keeper", "no front"])
def test_at_safe_until_the_program_is_frozen_whoever_seems_to_live(scene, dead):
    for act in dead:
        getattr(scene, act)()

    scene.page.safe_until = scene.now

    eventually(lambda: scene.state() == "T")
    looks()
    assert not scene.is_killed()


def test_a_stranger_who_thaws_it_is_undone(scene):
    scene.page.safe_until = scene.now
    eventually(lambda: scene.state() == "T")

    scene.process.send_signal(signal.SIGCONT)

    looks()
    assert scene.state() == "T"


def test_a_beat_that_lands_after_all_lets_it_go_on(scene):
    scene.page.safe_until = scene.now
    eventually(lambda: scene.state() == "T")

    scene.page.safe_until = scene.now + 3600

    eventually(lambda: scene.state() == "S")


def test_what_others_have_frozen_is_theirs_to_thaw(scene):
    scene.page.safe_until = scene.now + 3600

    family.freeze(scene.process.pid)

    looks()
    assert scene.state() == "T"


def test_where_nobody_is_left_to_thaw_it_it_is_killed(scene):
    scene.page.safe_until = scene.now
    eventually(lambda: scene.state() == "T")

    scene.kill_keeper()
    scene.kill_front()

    eventually(scene.is_killed)


def test_what_descends_from_it_is_killed_with_it(scene):
    code = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {DEAF!r}]).pid, flush=True)\ninput()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    child = int(parent.stdout.readline())
    scene.page.enter(parent.pid)

    scene.page.safe_until = scene.now
    scene.kill_keeper()
    scene.kill_front()

    assert parent.wait(patience(30)) == -signal.SIGKILL
    eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
    parent.communicate()


def test_what_stays_frozen_for_too_long_is_killed_though_front_and_keeper_seem_to_live(scene):
    scene.page.freeze_timeout = 0.5

    scene.page.safe_until = scene.now

    eventually(scene.is_killed)


def test_a_lock_without_a_lease_is_held_until_its_program_has_gone(scene, tmp_path):
    """The kernel would free it together with its last holder."""
    held = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    scene.keeper.hold([held])
    os.close(held)
    scene.kill_keeper()
    scene.kill_front()
    eventually(lambda: scene.signals() == 1)
    holder = psutil.Process(scene.keeper.pid)
    assert str(tmp_path / "lock") in [file.path for file in holder.open_files()]

    scene.process.kill()

    assert scene.keeper._process.wait(patience(30)) == 0


def test_a_program_that_outlives_all_of_ours_for_too_long_is_ended_before_the_sentinel_goes(monkeypatch):
    """In one process, with a clock of its own: half an hour is long."""
    page, now, done = Page.create(), [0.0], []
    process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    page.enter(process.pid)
    read, write = os.pipe()
    os.close(write)
    ours, theirs = socket.socketpair()
    ours.close()
    monkeypatch.setattr(sentinel.time, "clock_gettime", lambda _: now[0])
    monkeypatch.setattr(sentinel.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 60))
    monkeypatch.setattr(family, "kill", lambda pid: done.append(now[0]) or process.kill() or process.wait())

    sentinel.Watch(theirs, page, read).run()

    assert done[0] >= 1800
    process.stdout.close()
    theirs.close()
    os.close(read)
    os.close(page.descriptor)


def test_output_that_nobody_reads_any_more_is_read(scene):
    """Or Terraform would block on a full pipe while it saves its state."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    scene.keeper.hold([read])
    while True:
        try:
            os.write(write, b"x" * 65536)
        except BlockingIOError:
            break

    scene.kill_keeper()

    eventually(lambda: os.write(write, b"x"), 20)
    os.close(read)
    os.close(write)


def test_a_signal_to_every_process_is_passed_on_to_the_keeper(scene):
    scene.keeper._process.terminate()

    assert eventually(scene.keeper.heard) == [(signal.SIGTERM, 0)]


@pytest.mark.parametrize("is_forked", [False, True])
def test_a_sentinel_is_never_taken_for_family_however_it_was_started(scene, is_forked):
    """Its keeper would wait for it to end, and it for its keeper."""
    made = sentinel.Sentinel(scene.page, scene.lifeline, is_forked=is_forked)
    relatives = Relatives(Kin("/nests/one", "all"), 0, (os.getpid(),))
    eventually(lambda: os.getsid(made.pid) == made.pid, 20)

    try:
        assert scene.process.pid in relatives.heads()
        assert made.pid not in relatives.heads()
    finally:
        made.kill()
        eventually(made.has_ended)
        made.close()


class TestOnATerminal:
    """Front and program share a group there, which a shell signals as one job."""

    @pytest.fixture(params=["started", "forked"])
    def job(self, scene, request):
        """A job's group, and a sentinel of the front that is in it."""
        code = "import os, time; os.setpgid(0, 0); print(flush=True); time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        process.stdout.readline()
        page = Page.create()
        page.group = process.pid
        made = sentinel.Sentinel(page, scene.lifeline, is_forked=request.param == "forked")
        yield made, page, process
        for each in (process, made._process):
            each.kill()
            eventually(lambda each=each: each.poll() is not None)
        process.stdout.close()
        made.close()
        os.close(page.descriptor)

    def test_the_sentinel_is_in_it_as_long_as_the_program_is(self, job):
        made, page, process = job
        eventually(lambda: os.getpgid(made.pid) == made.pid, 20)

        page.enter(process.pid)
        made.hold([])
        eventually(lambda: os.getpgid(made.pid) == process.pid, 20)
        page.clear()
        made.hold([])

        eventually(lambda: os.getpgid(made.pid) == made.pid, 20)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_tells_what_the_whole_job_is_sent_and_outlives_it(self, job, number):
        made, page, process = job
        page.enter(process.pid)
        eventually(lambda: os.getpgid(made.pid) == process.pid, 20)

        for stops_the_job in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGHUP, number):
            os.killpg(process.pid, stops_the_job)

        assert eventually(made.heard, 20) == [(number, process.pid)]
        assert not made.has_ended()

    def test_what_the_sentinel_alone_is_sent_is_not_the_programs(self, job):
        made, _, _ = job
        eventually(lambda: os.getpgid(made.pid) == made.pid, 20)

        os.kill(made.pid, signal.SIGTERM)

        assert eventually(made.heard, 20) == [(signal.SIGTERM, 0)]


def test_a_sentinel_that_is_let_go_goes_and_leaves_the_program_be(scene):
    scene.keeper.dismiss()

    eventually(scene.keeper.has_ended)
    assert (scene.signals(), scene.process.poll()) == (0, None)


def test_a_sentinel_that_was_stopped_never_makes_its_keeper_wait(scene):
    """However many words are meant for it."""
    os.kill(scene.keeper.pid, signal.SIGSTOP)
    read, write = os.pipe()

    for _ in range(5_000):
        scene.keeper.hold([read])
    scene.keeper.dismiss()

    os.close(read)
    os.close(write)


class TestPost:
    @pytest.fixture
    def post(self):
        page, selector = Page.create(), selectors.DefaultSelector()
        made = SentinelPost(page, -1, selector)
        yield made
        made.close()
        if made._sentinel is not None:
            made._sentinel.kill()
            made._sentinel._process.wait(patience(30))
            made._sentinel.close()
        selector.close()
        os.close(page.descriptor)

    def test_one_that_was_killed_is_replaced(self, post):
        post.ensure()
        first = post.pid
        os.kill(first, signal.SIGKILL)

        def is_replaced():
            for key, _ in post._selector.select(0):
                post.hear(key.fileobj)
            return post.pid not in (0, first)

        eventually(is_replaced)
        eventually(lambda: post.look_after(0.0) or not post._leaving)

    def test_one_that_is_relieved_and_has_been_stopped_is_killed_in_time(self, post):
        post.ensure()
        first = post._sentinel
        os.kill(first.pid, signal.SIGSTOP)

        post.relieve(100.0)

        assert post.pid != first.pid
        post.look_after(101.0)
        assert first in post._leaving
        eventually(lambda: post.look_after(103.0) or first not in post._leaving)

    def test_one_that_was_let_go_since_this_look_began_is_no_error(self, post):
        post.ensure()
        first = post._sentinel
        post.relieve(100.0)
        eventually(lambda: post.look_after(100.0) or first not in post._leaving)

        assert not post.hear(first)

    def test_where_none_can_be_started_it_is_tried_again(self, post, monkeypatch):
        def refuse(*_args, **_options):
            raise OSError("Too many open files")

        monkeypatch.setattr(sentinel.subprocess, "Popen", refuse)
        assert not post.ensure()
        monkeypatch.undo()

        post.look_after(0.0)

        assert post.pid

    def test_when_nobody_is_left_to_watch_one_that_was_stopped_does_not_stay(self, post):
        post.ensure()
        first = post._sentinel
        os.kill(first.pid, signal.SIGSTOP)

        post.close()

        eventually(first.has_ended)
