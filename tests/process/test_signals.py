"""Signals as events, in a process of its own: a listener changes the whole process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.eventually import eventually, patience

LISTEN = """
import select, sys
from tfguard.process.signals import SignalListener
listener = SignalListener()
print("ready", flush=True)
while True:
    select.select([listener], [], [])
    for received in listener.take():
        print(received.number, received.is_from_terminal, received.is_parent_death, flush=True)
"""


@pytest.fixture
def listening():
    process = subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait(patience(30))
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_what_ends_a_job_is_told_and_ends_nothing(listening, number):
    listening.send_signal(number)

    assert listening.stdout.readline() == f"{int(number)} False False\n"
    assert listening.poll() is None


def test_each_signal_of_a_sequence_is_told(listening):
    listening.send_signal(signal.SIGINT)
    assert listening.stdout.readline().startswith("2 ")

    listening.send_signal(signal.SIGTERM)

    assert listening.stdout.readline().startswith("15 ")


BREAKING = """
import signal
def broken(*_):
    raise RuntimeError("no signals here")
signal.sigwaitinfo = broken
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such thread")
def test_a_thread_for_signals_that_breaks_is_told_and_signals_are_heard_all_the_same():
    code = BREAKING + LISTEN.replace("SignalListener()", "SignalListener(lambda error: print(error, flush=True))")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGTERM)

        assert sorted(said) == ["no signals here\n", "ready\n"]
        assert process.stdout.readline() == "15 False False\n"
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_a_parent_that_was_dead_before_anybody_listened_is_noticed():
    """Whoever starts tfguard may be killed while Python imports it."""
    code = f"import os\nfrom tfguard.process import inherited\ninherited.look()\nos.getppid = lambda: 4711\n{LISTEN}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline(), process.stdout.readline()]
        process.kill()

    assert said == ["ready\n", "15 False True\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_the_death_of_our_parent_is_told_as_a_sigterm():
    middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {LISTEN!r}]); input()"
    argv = [sys.executable, "-c", middle]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    parent = subprocess.Popen(argv, **pipes, text=True, start_new_session=True)
    assert parent.stdout.readline() == "ready\n"

    parent.kill()
    parent.wait(patience(30))

    assert parent.stdout.readline() == "15 False True\n"
    os.killpg(parent.pid, signal.SIGKILL)  # The orphan, which listens on.
    parent.stdout.close()
    parent.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
@pytest.mark.parametrize("is_nested", [False, True])
def test_under_nohup_neither_a_hangup_nor_the_death_of_our_parent_is_told(is_nested):
    """Inside another run of ours that is no wish: each of its programs ignores SIGHUP."""
    inside = "import os; from tfguard.process import inherited; inherited.look(); os.getppid = lambda: 4711"
    code = f"{inside}\n{LISTEN}"
    argv = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", code]
    environ = {**os.environ, "TFGUARD_LOCK_ID": "the outer"} if is_nested else None
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ) as process:
        said = [process.stdout.readline()]
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        said += [process.stdout.readline() for _ in range(3 if is_nested else 1)]
        process.kill()

    assert said[0] == "ready\n"
    told = ["1 False False\n", "15 False False\n", "15 False True\n"] if is_nested else ["15 False False\n"]
    assert sorted(said[1:]) == told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_dying_of_a_signal_looks_to_the_shell_as_if_the_signal_had_killed_us(number):
    code = f"from tfguard.process.signals import SignalListener, die_of; SignalListener(); die_of({int(number)})"

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -number


def test_a_program_that_we_become_gets_its_signals_as_if_we_had_never_been():
    code = (
        "import os, sys; from tfguard.process.signals import SignalListener, restore_defaults; SignalListener();"
        "restore_defaults(); os.execvp(sys.executable, [sys.executable, '-c', 'print(1, flush=True); input()'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"

    process.terminate()

    assert eventually(process.poll, 30) == -signal.SIGTERM
    process.stdin.close()
    process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_what_we_become_inherits_no_orphans():
    """It is no subreaper any more: Terraform reaps none but its own."""
    code = (
        "import ctypes; from tfguard.process import signals; signals.become_subreaper(); signals.restore_defaults();"
        "found = ctypes.c_int(); ctypes.CDLL(None).prctl(37, ctypes.byref(found), 0, 0, 0); print(found.value)"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patience(30))

    assert ended.stdout == "0\n", ended.stderr
