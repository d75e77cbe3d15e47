"""Real processes: who descends from a program, wherever its parents have gone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import psutil
import pytest

from tests.support.eventually import eventually, patience
from tfguard.process import bare
from tfguard.process.family import started_at
from tfguard.process.relatives import (
    NEST,
    Kin,
    Mark,
    Relatives,
    is_any_left,
    is_within,
    nest_around,
    nest_of,
    new_nest,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")

#: Stands in for a keeper: inherits orphans, starts what it is told, reaps nothing.
KEEPER = """
import json, os, subprocess, sys
from tfguard.process.signals import become_subreaper
become_subreaper()
os.setpgid(0, 0)
for line in sys.stdin:
    nest, *words = json.loads(line)
    environ = {**os.environ, "TFGUARD_NEST": nest}
    subprocess.run(words, env=environ, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print("done", flush=True)
"""


#: The PID of a program that has ended.
_GONE = 1 << 30


class Place:
    """A keeper, and what programs have left behind with it."""

    def __init__(self, folder):
        self.nest = str(folder / "ours")
        self.keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *words, nest=""):
        """Run a program to its end; give those of the keeper's children that are new."""
        before = set(self.children())
        print(json.dumps([nest or self.nest, *words]), file=self.keeper.stdin, flush=True)
        assert self.keeper.stdout.readline() == "done\n"
        return [each for each in self.children() if each not in before]

    def children(self):
        return psutil.Process(self.keeper.pid).children()

    def kin(self, waits_for="all"):
        return Kin(self.nest, waits_for)

    def relatives(self, waits_for="all", **facts):
        return Relatives(self.kin(waits_for), _GONE, (self.keeper.pid,), **facts)

    def end(self):
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if is_within(self.nest, nest_of(each.pid) or "") or each.ppid() == self.keeper.pid:
                    each.kill()
        self.keeper.kill()
        self.keeper.communicate()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.end()


def leaving(script):
    return ("/bin/sh", "-c", script)


#: Notes that it is ready, and what signals it gets.
NOTE = """
import signal, sys, time
def note(word): print(sys.argv[2] + word, file=open(sys.argv[1], 'a'), flush=True)
signal.signal(signal.SIGINT, lambda *_: note(':SIGINT'))
note('')
while True: time.sleep(0.05)
"""
SLEEPER = leaving("sleep 1000 &")


def test_who_has_lost_its_parent_belongs_to_the_family(place):
    (sleeper,) = place.run(*SLEEPER)

    assert place.relatives().left() == [sleeper.pid]

    sleeper.kill()
    eventually(lambda: place.relatives().left() == [])


def test_a_run_inside_belongs_to_the_family_around_it(place):
    (inner,) = place.run(*SLEEPER, nest=f"{place.nest}.inner")

    assert place.relatives().left() == [inner.pid]


def test_who_shows_no_nest_belongs_to_the_family(place):
    (unknown,) = place.run(*leaving("env -i sleep 1000 &"))
    eventually(lambda: unknown.name() == "sleep")  # Before, it is a shell that shows one.

    assert place.relatives().left() == [unknown.pid]


def test_whom_a_dead_keeper_was_about_to_start_is_none_of_it(place):
    """A sentinel, say: until it becomes one it looks like its keeper, and is nobody's to freeze."""
    (unborn,) = place.run(*leaving("env -i sh -c 'sleep 1000; :' tfguard-keeper &"))
    eventually(lambda: unborn.cmdline()[:1] == ["sh"] and "tfguard-keeper" in unborn.cmdline()[:4])

    assert place.relatives().left() == []


def test_what_another_program_has_left_behind_is_none_of_it(place):
    place.run(*SLEEPER, nest=f"{place.nest}2")

    assert place.relatives().left() == []


def test_what_was_there_before_the_program_is_none_of_it(place):
    before = frozenset(Mark(each.pid, started_at(each.pid)) for each in place.run(*leaving("env -i sleep 1000 &")))

    assert place.relatives(strangers=before).left() == []


@pytest.mark.parametrize("flag", ["-lock=false", "-lock-timeout=9s"])
def test_of_a_terraform_only_who_writes_under_our_lock_is_waited_for(place, flag):
    place.run(*SLEEPER)
    (shell,) = place.run(*leaving(f"(sh -c 'sleep 1000; :' sh {flag}; :) &"))

    writer = eventually(shell.children)[0]

    left = place.relatives(waits_for="writers").left

    eventually(lambda: left() == [writer.pid])  # Before its exec, a fork looks as its parent.


def test_with_consent_nobody_is_waited_for_and_all_are_frozen_all_the_same(place):
    (sleeper,) = place.run(*SLEEPER)
    relatives = place.relatives(waits_for="nobody")

    relatives.freeze()

    assert relatives.left() == []
    eventually(lambda: sleeper.status() == psutil.STATUS_STOPPED)


def test_after_a_keepers_death_the_family_is_known_by_its_nest(place):
    (sleeper,) = place.run(*SLEEPER)
    (stranger,) = place.run(*SLEEPER, nest=f"{place.nest}2")
    place.keeper.kill()
    place.keeper.wait(patience(30))

    left = place.relatives(is_scattered=True).left()
    stranger.kill()

    assert left == [sleeper.pid]


def test_the_interrupt_goes_to_those_alone_that_have_nobody_above_them(place, tmp_path):
    note, log = tmp_path / "note.py", tmp_path / "log"
    note.write_text(NOTE)
    words = f"{sys.executable} {note} {log}"
    place.run(*leaving(f"({words} below & exec {words} above) &"))
    eventually(lambda: sorted(log.read_text().split()) == ["above", "below"])

    place.relatives().interrupt()

    eventually(lambda: log.read_text().split()[2:] == ["above:SIGINT"])


def test_all_of_it_is_killed_with_what_descends_from_it(place):
    place.run(*leaving("(sleep 1000; :) & (sleep 1000; :) &"))

    place.relatives().kill()

    eventually(lambda: all(each.status() == psutil.STATUS_ZOMBIE for each in place.children()))
    eventually(lambda: place.relatives().left() == [])  # A child's child may take a moment longer to go.


@pytest.mark.parametrize(("waits_for", "is_found"), [("all", True), ("writers", False), ("nobody", False)])
def test_who_was_no_parent_of_them_knows_them_by_their_nest(place, waits_for, is_found):
    """`settle`, and a sentinel that has lost its keeper."""
    place.run(*SLEEPER)

    assert is_any_left(place.kin(waits_for)) == is_found


def test_who_cannot_be_looked_for_may_be_there(place, monkeypatch):
    """Without a free descriptor nothing is released, nor does anything break."""

    def refuse(*_):
        raise OSError(24, "Too many open files")

    relatives = place.relatives()
    with monkeypatch.context() as patch:
        patch.setattr("os.listdir", refuse)
        left, heads, was_sent = relatives.left(), relatives.heads(), relatives.interrupt()

    assert (left, heads, was_sent) == ([_GONE], [], False)


REAP = """
import os, subprocess, sys, time
from tfguard.process.relatives import children_of, reap_orphans
from tfguard.process.signals import become_subreaper
become_subreaper()
subprocess.run(["sh", "-c", "for i in $(seq 60); do (true &); done"])
ours = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
helper = subprocess.Popen([sys.executable, "-c", "raise SystemExit(4)"])
os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
os.waitid(os.P_PID, helper.pid, os.WEXITED | os.WNOWAIT)
while len(children_of(os.getpid())) > 2:
    reap_orphans([ours.pid], is_ours=lambda pid: pid == helper.pid)
    time.sleep(0.01)
print(ours.wait(), helper.wait())
"""


def test_orphans_are_reaped_and_no_exit_status_of_ours_is_lost():
    ended = subprocess.run([sys.executable, "-c", REAP], capture_output=True, text=True, timeout=patience(30))

    assert ended.stdout == "3 4\n", ended.stderr


def test_a_nest_lies_within_the_one_around_it(tmp_path):
    outer = new_nest({"XDG_RUNTIME_DIR": str(tmp_path)})
    inner = new_nest({NEST: outer})

    assert os.path.dirname(outer) == str(tmp_path / "tfguard" / "nests")
    assert (is_within(outer, inner), is_within(inner, outer), is_within(outer, outer + "0")) == (True, False, False)


def test_a_nest_whose_name_was_lost_on_the_way_is_one_for_all_under_that_lock(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "TFGUARD_LOCK_ID": "id"}
    others = {**environ, "TFGUARD_LOCK_ID": "../../etc"}

    assert nest_around({**environ, NEST: "/run/a"}) == "/run/a"
    assert nest_around(environ) == nest_around(environ) != nest_around(others)
    assert os.path.dirname(nest_around(others)) == str(tmp_path / "tfguard" / "nests")
    assert nest_around({NEST: "/run/a"}) == ""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (bare.command("sentinel", 1, 2, 3), "tfguard-sentinel"),
        (bare.command("shim", 1, words=["tfguard-sentinel"]), "tfguard-shim"),
        ([sys.executable, "tfguard-sentinel"], "tfguard-sentinel"),
        ([sys.executable, "-I", "-X", "utf8", "-c", "pass", "tfguard-keeper", "/x"], "tfguard-keeper"),
        (["pgrep", "-f", "-a", "x", "y", "tfguard-keeper"], ""),
        (["sh"], ""),
        ([], ""),
    ],
)
def test_a_process_of_ours_is_known_by_its_words(words, name):
    assert bare.name_in([word.encode() for word in words]).decode() == name
