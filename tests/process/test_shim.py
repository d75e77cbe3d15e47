"""What the child's process is like once Terraform runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tfguard.process import shim

SHIM = Path(shim.__file__)
#: Prints what it was started with: group, signals ignored, signals blocked.
SHOW = (
    "import os, signal; print(os.getpgrp() == os.getpid(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
    "signal.pthread_sigmask(signal.SIG_BLOCK, []), os.environ['GREETING'])"
)


@pytest.fixture
def sentinel():
    """Both ends of a sentinel's pipe: what the child registers with."""
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def run(sentinel, *argv, group=0, parent=None, **options):
    """Run a program through the shim, as the keeper does."""
    command = [sys.executable, "-I", "-S", str(SHIM), str(group), str(parent or os.getpid()), str(sentinel[1]), *argv]
    return subprocess.run(
        command, pass_fds=[sentinel[1]], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_the_child_has_its_own_group_no_hangup_an_empty_mask_and_our_environment(sentinel):
    result = run(sentinel, sys.executable, "-c", SHOW, env={**os.environ, "GREETING": "hello"})

    assert result.stdout == "True True set() hello\n"


def test_the_child_registers_with_the_sentinel_under_the_pid_it_keeps(sentinel):
    result = run(sentinel, sys.executable, "-c", "import os; print(os.getpid())")

    assert os.read(sentinel[0], 100).decode() == f"+{result.stdout.strip()}\n"


def test_the_child_does_not_keep_the_sentinels_descriptor(sentinel):
    look = f"import os\ntry: os.fstat({sentinel[1]})\nexcept OSError: print('closed')"

    assert run(sentinel, sys.executable, "-c", look).stdout == "closed\n"


@pytest.mark.parametrize("status", [0, 1, 2, 255])
def test_the_childs_status_is_the_programs(sentinel, status):
    """X1"""
    assert run(sentinel, sys.executable, "-c", f"raise SystemExit({status})").returncode == status


def test_a_child_that_a_signal_ends_ends_of_that_signal(sentinel):
    """X1"""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    assert run(sentinel, sys.executable, "-c", code).returncode == -signal.SIGKILL


def test_a_program_that_is_not_there_is_127(sentinel, tmp_path):
    """X1"""
    result = run(sentinel, str(tmp_path / "absent"))

    assert (result.returncode, result.stderr.count("\n")) == (127, 1)


def test_a_program_that_cannot_be_run_is_126(sentinel, tmp_path):
    """X1"""
    (tmp_path / "text").write_text("not a program")

    result = run(sentinel, str(tmp_path / "text"))

    assert (result.returncode, result.stderr.count("\n")) == (126, 1)


def test_nothing_is_started_for_a_keeper_that_has_died(sentinel, tmp_path):
    result = run(sentinel, "touch", str(tmp_path / "started"), parent=1 if os.getpid() != 1 else 2)

    assert result.returncode == 130
    assert not (tmp_path / "started").exists()


def test_a_sentinel_that_has_gone_does_not_keep_the_child_from_starting(tmp_path):
    read, write = os.pipe()
    os.close(read)

    result = run((read, write), sys.executable, "-c", "print(1)")

    os.close(write)
    assert result.stdout == "1\n"


def test_a_group_that_is_given_is_joined(sentinel):
    leader = subprocess.Popen([sys.executable, "-c", "import os; os.setpgrp(); input()"], stdin=subprocess.PIPE)
    eventually(lambda: os.getpgid(leader.pid) == leader.pid)

    result = run(sentinel, sys.executable, "-c", "import os; print(os.getpgrp())", group=leader.pid)

    leader.communicate()
    assert result.stdout == f"{leader.pid}\n"
