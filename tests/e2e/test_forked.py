"""A command that is forked says and does what one does that starts with a Python of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psutil
import pytest

from tests.e2e import forked
from tests.e2e.conftest import TFGUARD, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually
from tfguard.process.bare import name_in

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not forked.fits(forked.own_environ()), reason="nothing is forked here"),
]


@pytest.mark.parametrize(
    "words",
    [["--version"], ["config", "show"], ["status", "--json"], ["status", "--no-such-option"], ["workspace", "show"]],
    ids=" ".join,
)
def test_it_ends_and_prints_as_if_it_had_been_started(stage: Callable[..., Stage], words: list[str]) -> None:
    made = stage("local")
    environ = {"TFGUARD_LOCK_LEASE": "20s"}

    assert made.tfguard(*words, **environ) == made.run([*TFGUARD, *words], **environ)


def test_it_reads_what_it_is_given(stage: Callable[..., Stage]) -> None:
    made = stage("local")

    result = made.tfguard("console", stdin="6 * 7\n")

    assert result.code == 0, str(result)
    assert result.out == "42\n"


def test_a_death_by_a_signal_is_told_as_one(stage: Callable[..., Stage]) -> None:
    made = stage("local")
    program = made.path / "terraform"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)

    result = made.tfguard("fmt", TFGUARD_TERRAFORM=str(program))  # Takes no lock: tfguard becomes the program.

    assert result.code == -signal.SIGKILL, str(result)


def test_one_that_runs_has_its_own_pid_its_keeper_and_its_end(stage: Callable[..., Stage]) -> None:
    made = stage("local")

    with running(made.start_tfguard("exec", "--", "sh", "-c", "echo in; exec sleep 60")) as ours:
        ours.wait_for("in")
        names = [name_in([word.encode() for word in each.cmdline()]) for each in psutil.Process(ours.pid).children()]
        ours.process.kill()
        result = ours.end()

    assert b"tfguard-keeper" in names
    assert result.code == -signal.SIGKILL, str(result)
    eventually(lambda: made.locks() == [], 20, "the lock's release")


def test_another_setting_of_python_gets_a_python_of_its_own() -> None:
    assert forked.fits(forked.own_environ())
    assert not forked.fits({**forked.own_environ(), "PYTHONIOENCODING": "ascii"})
