"""Who signals everybody, tfguard's processes and Terraform's, gives Terraform one signal, however it prints."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.conftest import TFGUARD, Stage
from tests.e2e.operated import keeper_of
from tests.e2e.running import Running, running
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve")
#: Passes Terraform's lines on behind a prefix, as wrappers do; Terraform itself is what the keeper signals.
PREFIXING = """#!/bin/bash
exec {terraform} "$@" > >(sed -u 's/^/12:03:11 STDOUT app: /')
"""


def _all_of(front: int) -> list[psutil.Process]:
    """The front, its keeper, the sentinel, and Terraform, in the order of their PIDs."""

    def find() -> list[psutil.Process] | None:
        keeper = keeper_of(front)
        children = keeper.children() if keeper else []
        terraform = [each for each in children if each.name() == "terraform"]
        return [psutil.Process(front), keeper, *children] if terraform else None

    found = eventually(find, 20, "front, keeper, sentinel and Terraform")
    return sorted(found, key=lambda each: each.pid)


def _signal(processes: list[psutil.Process], number: int) -> None:
    for each in processes:
        with contextlib.suppress(psutil.Error):
            each.send_signal(number)


def _end_of(ours: Running, made: Stage, number: int) -> str:
    """Wait for the end of a run; give what it printed. It stopped cleanly, with one signal."""
    result = ours.end()
    printed = result.out + result.err
    assert result.code in (-number, 1), str(result)
    assert "Two interrupts" not in printed
    assert printed.count("Interrupt received") == 1
    assert made.resources() == ["terraform_data.work"]
    eventually(lambda: made.leftovers() == [], 15, "the lock's release")
    return printed


@pytest.mark.parametrize("how", ["plain", "argv", "variable", "file", "prefixed"])
def test_who_signals_everybody_gives_terraform_one_signal(stage: Make, how: str) -> None:
    made = stage("local")
    words, environ = [*APPLY, "-no-color"], {"TF_VAR_hold": "120"}
    if how == "argv":
        words = [*APPLY, "-json"]
    elif how == "variable":
        words, environ = [*APPLY], {**environ, "TF_CLI_ARGS_apply": "-json"}
    elif how == "file":
        (made.path / "tfguard.yml").write_text(
            "version: 1\npipelines:\n  app:\n    dir: .\n    env:\n      TF_CLI_ARGS_apply: -json\n"
        )
        words = ["-p", "app", *APPLY]
    elif how == "prefixed":
        shim = made.path / "prefixing"
        shim.write_text(PREFIXING.format(terraform=shutil.which("terraform")))
        shim.chmod(0o755)
        words = ["--terraform", str(shim), *words]
    with running(made.start([*TFGUARD, *words], **environ)) as ours:
        ours.wait_for_work(made)

        _signal(_all_of(ours.pid), signal.SIGINT)

        printed = _end_of(ours, made, signal.SIGINT)
    assert ('"@message"' in printed) == (how in ("argv", "variable", "file"))


def test_a_signal_that_finds_tfguards_processes_alone_is_not_lost(stage: Make) -> None:
    """As `pkill -f tfguard` does: what the keeper has heard, Terraform has not."""
    made = stage("local")
    with running(made.start([*TFGUARD, *APPLY, "-no-color"], TF_VAR_hold="120")) as ours:
        ours.wait_for_work(made)

        _signal([each for each in _all_of(ours.pid) if each.name() != "terraform"], signal.SIGTERM)

        _end_of(ours, made, signal.SIGTERM)


def test_a_stopped_terraform_whose_signal_waits_for_it_gets_no_other(stage: Make) -> None:
    made = stage("local")
    with running(made.start([*TFGUARD, *APPLY, "-no-color"], TF_VAR_hold="120")) as ours:
        ours.wait_for_work(made)
        everybody = _all_of(ours.pid)
        terraform = next(each for each in everybody if each.name() == "terraform")
        terraform.suspend()
        eventually(lambda: terraform.status() == psutil.STATUS_STOPPED)

        _signal(everybody, signal.SIGTERM)
        ours.wait_for("asked once to stop")
        os.kill(terraform.pid, signal.SIGCONT)

        _end_of(ours, made, signal.SIGTERM)


#: Says at its first signal what Terraform does, and goes on for longer than anybody waits for that.
STUB = """
import signal, sys, time
signals = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: signals.append(number))
print("begin", flush=True)
while not signals: time.sleep(0.01)
print(sys.argv[1], flush=True)
until = time.monotonic() + 2
while time.monotonic() < until: time.sleep(0.01)
print("signals:", len(signals), flush=True)
"""
SAID = {
    "json": r'{"@level":"info","@message":"\nInterrupt received.\nPlease wait for OpenTofu to exit or data loss"}',
    "prefixed": "app | Interrupt received.\napp | Please wait for Terraform to exit or data loss may occur.",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_who_takes_long_to_stop_and_has_said_so_gets_no_other_signal(stage: Make, said: str) -> None:
    made = stage("local")
    with running(made.start_afresh("exec", "--", sys.executable, "-c", STUB, said)) as ours:
        ours.wait_for("begin")
        keeper = eventually(lambda: keeper_of(ours.pid))

        _signal([psutil.Process(ours.pid), *keeper.children()], signal.SIGTERM)  # As a group kill: not the keeper.
        result = ours.end()

    assert "signals: 1" in result.out, str(result)
