"""A child that was inherited: it is known by what it is, not by a number that may be another's by now."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.eventually import eventually, patience
from tfguard.process import family
from tfguard.process.child import AdoptedChild


@pytest.fixture
def process():
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.stdin.close()
    made.wait(patience(30))


@pytest.mark.parametrize("has_proc", [True, False], ids=["with /proc", "without /proc"])
def test_an_inherited_child_is_gone_once_it_is_a_zombie(process, has_proc, monkeypatch):
    if not has_proc:
        monkeypatch.setattr(family, "stat", lambda pid: None)
        monkeypatch.setattr(family, "has_proc", lambda: False)
    adopted = AdoptedChild(process.pid)
    assert adopted.poll() is None

    process.stdin.close()

    eventually(lambda: adopted.poll() == 0)


def test_an_inherited_child_that_the_front_has_reaped_is_gone(process):
    adopted = AdoptedChild(process.pid)

    adopted.is_reaped = True

    assert adopted.poll() == 0


def test_one_that_was_gone_before_is_gone():
    made = subprocess.Popen([sys.executable, "-c", ""])
    made.wait(patience(30))

    assert AdoptedChild(made.pid).poll() == 0


#: A keeper, as far as its signals go, that starts one program after another and stops each at another instant.
STOP_EARLY = """
import os, signal, sys, time
from tfguard.process import child, keeper
from tfguard.process.page import Page
from tfguard.process.standby import Start
keeper.hear_signals()
page = Page.create()
for number in range(6):
    started = child.Child(Start(["sleep", "20"], "/", os.environ, group=0, stdio=(0, 1, 2)), page)
    time.sleep(0.008 * number)
    os.kill(started.pid, getattr(signal, sys.argv[1]))
    while started.poll() is None:
        time.sleep(0.005)
    print(started.poll(), flush=True)
    if not started.poll():
        break
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_a_signal_reaches_the_program_or_it_is_never_started(name):
    """Each would sleep, and end with 0."""
    stopping = [sys.executable, "-c", STOP_EARLY, name]
    ended = subprocess.run(stopping, capture_output=True, text=True, timeout=patience(30), check=False)

    assert ended.stdout.split() == [str(-getattr(signal, name))] * 6, ended.stderr


#: A program is born in the group that it belongs to: what the terminal sends to that reaches it from its first instant.
BORN = """
import os, subprocess, sys
from tfguard.process import child, keeper
from tfguard.process.page import Page
from tfguard.process.standby import Start
keeper.hear_signals()
os.setpgid(0, 0)
popen = subprocess.Popen
def first_instant(argv, **options):
    return popen([sys.executable, "-c", "import os; print(os.getpgrp())"], **options)
subprocess.Popen = first_instant
page = Page.create()
started = child.Child(Start([], "/", os.environ, group=int(sys.argv[1]), stdio=(0, 1, 2)), page)
while started.poll() is None: pass
print(os.getpgrp() == os.getpid())
"""


def test_a_program_is_born_in_the_group_that_it_is_to_join():
    code = f"import os; print(os.getpid(), flush=True); import subprocess, sys; argv = [sys.executable, '-c', {BORN!r}]"
    leading = [sys.executable, "-c", f"{code}; subprocess.run([*argv, str(os.getpid())])"]
    ended = subprocess.run(
        leading, capture_output=True, text=True, timeout=patience(30), check=False, start_new_session=True
    )
    leader, group, is_own = ended.stdout.split()

    assert group == leader, ended.stderr
    assert is_own == "True"
