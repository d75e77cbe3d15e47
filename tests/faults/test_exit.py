"""The program's exit status, and what it leaves running: rows X1 and X2."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

import pytest

from tests.contract.kinds import lease, record
from tests.faults.scene import WORK, Scene, on_both_stores
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 2", 2), ("exit 255", 255), ("kill -9 $$", 137), ("kill -USR1 $$", 138)],
)
@on_both_stores
def test_x1_the_exit_status_is_the_programs_own(scene: Scene, script: str, code: int) -> None:
    """(Of five peers that wrap a command, two keep its status.)"""
    result = scene.run(argv=["sh", "-c", script]).end()

    assert result.code == code, str(result)
    assert scene.record() is None


@pytest.mark.parametrize(("mode", "code"), [(0, 127), (stat.S_IRUSR | stat.S_IWUSR, 126)])
def test_x1_what_cannot_be_started_is_127_or_126(scene: Scene, mode: int, code: int) -> None:
    program = scene.folder / "program"
    if mode:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)

    result = scene.run(argv=[str(program)]).end()

    assert result.code == code, str(result)
    assert scene.record() is None


@on_both_stores
def test_x2_what_the_program_leaves_running_does_not_keep_the_lock(scene: Scene) -> None:
    """
    The end of the run is the end of the program, as for Terraform, which waits for its own providers.

    What left the program's side to stay (a daemon that an `exec`ed script starts) would hold the lock for ever.
    """
    leaves = f"{sys.executable} -S -I {WORK} daemon {scene.log} {scene.folder / 'gate-daemon'} & echo $!"

    result = scene.run(argv=["sh", "-c", leaves]).end()
    daemon = int(result.out)
    is_there = not _is_gone(daemon)
    scene.let_end("daemon")
    eventually(lambda: _is_gone(daemon), 20, "the daemon's end")

    assert result.code == 0, str(result)
    assert is_there
    assert scene.record() is None


def _is_gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@on_both_stores
def test_x2_what_the_program_has_started_is_frozen_and_killed_with_it(scene: Scene) -> None:
    """A theft ends the whole family: another's lock is no place for a grandchild to write."""
    child = f"{sys.executable} -S -I {WORK} a {scene.log} {scene.folder / 'gate-a'} stubborn"
    ours = scene.beating(argv=["sh", "-c", f"{child} & wait; wait"])

    scene.overwrite(record(lease=lease()))
    result = ours.end()
    last = scene.lines("a")[-1]
    scene.rival("b", timeout="0s", argv=["true"]).end()

    assert result.code == 76, str(result)
    assert scene.lines("a")[-1] == last
