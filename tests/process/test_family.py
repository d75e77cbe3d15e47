"""Real processes: what reaches one alone, what reaches all that descends from it, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support import parts
from tests.support.eventually import eventually, patience
from tfguard.process import family as descent

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


#: A shell in the moment between vfork and exec: the child shares its memory, and stops before it begins its program.
IN_VFORK = """
import ctypes, signal
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    libc.kill(libc.getpid(), signal.SIGSTOP)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells where a process waits")
def test_who_waits_for_a_stopped_child_that_has_not_begun_does_not_run():
    process = subprocess.Popen([sys.executable, "-c", IN_VFORK])
    waiting = psutil.Process(process.pid)
    try:
        eventually(lambda: [each.status() for each in waiting.children()] == [psutil.STATUS_STOPPED])

        running = descent.freeze(process.pid)

        assert waiting.status() == psutil.STATUS_DISK_SLEEP, "it cannot even stop"
        assert running == []
    finally:
        descent.kill(process.pid)
        process.wait(patience(30))


def states(pids):
    return {psutil.Process(pid).status() for pid in pids}


@pytest.mark.skipif(sys.platform != "linux", reason="only there pending signals can be seen")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_waits_for_a_stopped_process_is_its_one_signal(family, number):
    _, pids = family
    os.kill(pids[1], signal.SIGSTOP)
    eventually(lambda: states([pids[1]]) == {psutil.STATUS_STOPPED})

    os.kill(pids[1], number)
    was_pending = descent.has_pending_stop(pids[1])
    is_sent = descent.interrupt(pids[1])

    assert was_pending and is_sent
    assert _pending(pids[1]) == {number}
    assert not descent.has_pending_stop(pids[0])


def _pending(pid):
    with open(f"/proc/{pid}/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("ShdPnd:"))
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1} - {signal.SIGCHLD}


def test_an_interrupt_reaches_the_child_and_none_of_its_own(family):
    process, pids = family

    descent.interrupt(pids[0])

    assert process.stdout.readline() == "SIGINT 2\n"
    descent.interrupt(pids[0])
    assert process.stdout.readline() == "SIGINT 2\n"


def test_freezing_stops_all_that_could_write(family):
    _, pids = family

    descent.freeze(pids[0])

    eventually(lambda: states(pids) == {psutil.STATUS_STOPPED})


def test_thawing_lets_all_go_on(family):
    _, pids = family
    descent.freeze(pids[0])
    eventually(lambda: states(pids) == {psutil.STATUS_STOPPED})

    descent.thaw(pids[0])

    eventually(lambda: psutil.STATUS_STOPPED not in states(pids))


def test_killing_ends_the_child_and_all_that_descends_from_it(family):
    process, pids = family

    descent.kill(pids[0])

    assert process.wait(patience(30)) == -signal.SIGKILL
    eventually(lambda: not any(_runs(pid) for pid in pids[1:]))


def test_a_frozen_family_can_be_killed(family):
    process, pids = family
    descent.freeze(pids[0])

    descent.kill(pids[0])

    assert process.wait(patience(30)) == -signal.SIGKILL


@pytest.mark.parametrize("act", [descent.interrupt, descent.freeze, descent.thaw, descent.kill])
def test_a_child_that_has_gone_is_no_error(act):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(patience(30))

    act(process.pid)


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_has_stopped_is_no_longer_named_as_running(family):
    _, pids = family

    eventually(lambda: descent.freeze(pids[0]) == [])

    assert states(pids) == {psutil.STATUS_STOPPED}


def test_a_stranger_who_lets_one_of_them_go_on_is_undone_at_the_next_look(family):
    _, pids = family
    eventually(lambda: descent.freeze(pids[0]) == [])

    os.kill(pids[2], signal.SIGCONT)
    eventually(lambda: states(pids) != {psutil.STATUS_STOPPED})

    eventually(lambda: descent.freeze(pids[0]) == [])
    assert states(pids) == {psutil.STATUS_STOPPED}


def test_what_may_not_be_signalled_is_named(family, monkeypatch):
    """As when it has become another user's: `sudo`, or a setuid program."""
    _, pids = family
    kill = os.kill

    def refuse(pid, number):
        if pid == pids[1]:
            raise PermissionError
        kill(pid, number)

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        eventually(lambda: descent.freeze(pids[0]) == [pids[1]])


def test_whether_an_interrupt_was_sent_is_said(family):
    process, pids = family
    assert descent.interrupt(pids[0])

    descent.kill(pids[0])
    process.wait(patience(30))

    assert not descent.interrupt(pids[0])


def test_a_name_is_told_without_arguments(family):
    _, pids = family

    assert descent.name_of(pids[0]).startswith("python")


def test_without_proc_what_descends_is_found_all_the_same(family, monkeypatch):
    _, pids = family
    parts.program("ps")
    monkeypatch.setattr(descent, "has_proc", lambda: False)

    assert descent.tree(pids[0]) == pids


def test_what_is_forked_while_all_are_being_stopped_is_stopped_too(monkeypatch):
    """Each walk over the tree finds the one that was forked since the last."""
    walks, stopped = iter([[1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]]), []
    monkeypatch.setattr(descent, "tree", lambda pid: next(walks))
    monkeypatch.setattr(descent, "_send", lambda pid, number: stopped.append(pid) or True)
    monkeypatch.setattr(descent, "_runs", lambda pid: pid not in stopped)

    assert descent.freeze(1) == []
    assert stopped == [1, 2, 3, 4]


def test_whom_we_may_not_signal_is_anothers(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    ours = descent.is_anothers(os.getpid())
    monkeypatch.setattr(os, "kill", refuse)

    assert (ours, descent.is_anothers(os.getpid())) == (False, True)
