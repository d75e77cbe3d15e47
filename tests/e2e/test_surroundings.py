"""Whatever tfguard is started with: closed streams, ignored signals, an odd variable, an early signal."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.conftest import TFGUARD, Stage
from tests.e2e.operated import keeper_of
from tests.e2e.running import running
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'
CLOSED = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")
#: How many early signals of each kind.
TRIES = int(os.environ.get("TFGUARD_CANCEL_TRIES", "1"))


def start_closed(made: Stage, closed: str, *words: str, **environ: str) -> subprocess.Popen[str]:
    """Start tfguard from a shell that closes some of its first three descriptors."""
    return made.start(["sh", "-c", f'exec "$@" {closed}', "sh", *TFGUARD, *words], **environ)


# --- closed streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", CLOSED)
def test_a_run_without_its_first_descriptors_runs_as_with_dev_null(stage: Make, closed: str) -> None:
    made = stage("local", text=STILL)

    with running(start_closed(made, closed, "apply", "-auto-approve", "-no-color")) as ours:
        result = ours.end()

    assert result.code == 0, str(result)
    assert made.resources() == ["terraform_data.a"]
    assert made.leftovers() == []
    assert ("Apply complete!" in result.out) == (">&-" not in closed.replace("2>&-", ""))


def test_a_question_that_nobody_can_answer_is_terraforms_own_error(stage: Make) -> None:
    made = stage("local", text=STILL)

    with running(start_closed(made, "<&-", "apply", "-no-color")) as ours:
        result = ours.end()

    assert result.code == 1, str(result)
    assert "EOF" in result.err
    assert made.leftovers() == []


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(
    "words",
    [("exec", "--", "touch", "done"), ("state", "list")],
    ids=["exec", "passed-through"],
)
def test_a_program_without_its_first_descriptors_ends_with_its_own_status(
    stage: Make, closed: str, words: tuple[str, ...]
) -> None:
    made = stage("local", text=STILL)
    (made.path / "terraform.tfstate").write_text('{"version": 4, "serial": 1, "lineage": "a"}')

    with running(start_closed(made, closed, *words)) as ours:
        result = ours.end()

    assert result.code == 0, str(result)
    assert words[0] != "exec" or (made.path / "done").exists()
    assert made.leftovers() == []


# --- a variable without a name --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("plan", "-no-color"), ("state", "list")], ids=["guarded", "passed-through"])
def test_a_variable_without_a_name_harms_nobody(stage: Make, words: tuple[str, ...]) -> None:
    made = stage("local", text=STILL)
    (made.path / "terraform.tfstate").write_text('{"version": 4, "serial": 1, "lineage": "a"}')

    with running(made.start([sys.executable, "-c", NAMELESS, *TFGUARD, *words])) as ours:
        result = ours.end()

    assert result.code == 0, str(result)
    assert made.leftovers() == []


NAMELESS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
words = [word.encode() for word in sys.argv[1:]]
pairs = [b"=C:=x", *(name + b"=" + value for name, value in os.environb.items())]
array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)
libc.execve(words[0], array(words), array(pairs))
"""


# --- signals that were ignored --------------------------------------------------------------------------------------


def test_under_nohup_the_death_of_a_shell_stops_nothing(stage: Make) -> None:
    made = stage("local")
    log = made.path / "printed"
    words = " ".join([*TFGUARD, "apply", "-auto-approve", "-no-color"])
    shell = made.start(["sh", "-c", f"trap '' HUP; {words} >{log} 2>&1 </dev/null; true"], TF_VAR_hold="4")
    made.wait_for_log("begin")
    front = eventually(lambda: psutil.Process(shell.pid).children()[0])

    front.send_signal(signal.SIGHUP)
    shell.kill()
    shell.communicate()
    eventually(lambda: not alive(front), 30, "the end of the run")

    assert "Apply complete!" in log.read_text()
    assert "Interrupt received" not in log.read_text()
    assert made.leftovers() == []


def test_what_was_ignored_at_our_start_is_ignored_by_the_program_that_we_become(stage: Make) -> None:
    made = stage("local", text=STILL)
    fake = made.path / "terraform"
    fake.write_text('#!/bin/sh\n[ "$1" = version ] && exit 0\nexec grep -E "SigIgn|SigBlk" /proc/self/status\n')
    fake.chmod(0o755)
    quiet = "trap '' HUP INT USR1; exec \"$@\""

    plain, ours = (
        made.run(["sh", "-c", quiet, "sh", *argv])
        for argv in ([str(fake), "output"], [*TFGUARD, "--terraform", str(fake), "output"])
    )

    assert ours.out == plain.out, f"{plain}{ours}"


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


# --- an early signal ------------------------------------------------------------------------------------------------


def _program_of(front: int) -> psutil.Process | None:
    keeper = keeper_of(front)
    children = keeper.children() if keeper else []
    # It has a session of its own by then, which who stands by to become it has not.
    ours = ("tfguard-sentinel", "tfguard-keeper")
    found = (each for each in children if os.getsid(each.pid) == each.pid and not set(ours) & set(each.cmdline()))
    return next(found, None)


@pytest.mark.parametrize("how", ["HUP", "INT", "TERM", "parent"])
def test_a_cancel_that_comes_while_a_program_starts_is_not_lost(stage: Make, how: str) -> None:
    """The program would go on for minutes: only a signal that has reached it ends it."""
    made = stage("local", text=STILL)
    dice = random.Random(how)
    for _ in range(TRIES):
        words = [*TFGUARD, "exec", "--", "sleep", "600"]
        argv = ["sh", "-c", '"$@"; true', "sh", *words] if how == "parent" else words
        process = made.start(argv)
        with running(process) as ours:
            front = eventually(psutil.Process(process.pid).children)[0].pid if how == "parent" else ours.pid
            program = _wait_for_program(front)
            time.sleep(dice.uniform(0.0, dice.choice((0.05, 0.3))))  # While its shim lives, or later.
            if how == "parent":
                process.kill()
            else:
                process.send_signal(getattr(signal, f"SIG{how}"))
            eventually(lambda program=program: not alive(program), 15, "the program's end")
            eventually(lambda: made.leftovers() == [], 15, "the lock's release")


def _wait_for_program(front: int) -> psutil.Process:
    """Wait for a keeper's program, and notice it soon: its shim lives for some hundredths of a second."""
    gives_up_at = time.monotonic() + patience(20)
    while time.monotonic() < gives_up_at:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if (found := _program_of(front)) is not None:
                return found
        time.sleep(0.002)
    raise AssertionError("no program was started")
