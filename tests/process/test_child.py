"""Real processes: what reaches the child alone, and what reaches all that descends from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.eventually import eventually, patience
from tfguard.process import child
from tfguard.process.child import AdoptedChild

#: A parent, its child and its grandchild, each of which tells its PID and what signals it gets.
FAMILY = """
import os, signal, subprocess, sys, time
depth = int(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: print("SIGINT", depth, flush=True))
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[2], str(depth - 1), sys.argv[2]])
print("pid", depth, os.getpid(), flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def family():
    """Three generations; gives the process and the PIDs, oldest first."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAMILY, "2", FAMILY], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    lines = sorted((process.stdout.readline().split() for _ in range(3)), reverse=True)
    pids = [int(line[2]) for line in lines]
    yield process, pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait(patience(30))
    process.stdout.close()


def states(pids):
    return {psutil.Process(pid).status() for pid in pids}


def test_an_interrupt_reaches_the_child_and_none_of_its_own(family):
    process, pids = family

    child.interrupt(AdoptedChild(pids[0]))

    assert process.stdout.readline() == "SIGINT 2\n"
    child.interrupt(AdoptedChild(pids[0]))
    assert process.stdout.readline() == "SIGINT 2\n"


def test_freezing_stops_all_that_could_write(family):
    _, pids = family

    child.freeze(AdoptedChild(pids[0]))

    eventually(lambda: states(pids) == {psutil.STATUS_STOPPED})


def test_thawing_lets_all_go_on(family):
    _, pids = family
    child.freeze(AdoptedChild(pids[0]))
    eventually(lambda: states(pids) == {psutil.STATUS_STOPPED})

    child.thaw(AdoptedChild(pids[0]))

    eventually(lambda: psutil.STATUS_STOPPED not in states(pids))


def test_killing_ends_the_child_and_all_that_descends_from_it(family):
    process, pids = family

    child.kill(AdoptedChild(pids[0]))

    assert process.wait(patience(30)) == -signal.SIGKILL
    eventually(lambda: not any(_runs(pid) for pid in pids[1:]))


def test_a_frozen_family_can_be_killed(family):
    process, pids = family
    child.freeze(AdoptedChild(pids[0]))

    child.kill(AdoptedChild(pids[0]))

    assert process.wait(patience(30)) == -signal.SIGKILL


@pytest.mark.parametrize("act", [child.interrupt, child.freeze, child.thaw, child.kill])
def test_a_child_that_has_gone_is_no_error(act):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(patience(30))

    act(AdoptedChild(process.pid))


def test_an_inherited_child_is_gone_once_it_is_a_zombie():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    adopted = AdoptedChild(process.pid)
    assert adopted.poll() is None

    process.stdin.close()

    eventually(lambda: adopted.poll() == 0)
    process.wait(patience(30))


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
