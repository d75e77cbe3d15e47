"""The program's exit status, and what it leaves running: rows X1 and X2."""

from __future__ import annotations

import stat
import sys

import pytest

from tests.contract.kinds import lease, record
from tests.faults.scene import WORK, Scene, on_both_stores

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
def test_x2_what_the_program_leaves_running_keeps_the_lock_until_it_has_gone(scene: Scene) -> None:
    """It may write: the run is over when all of its family is. `--detach-ok` is the consent not to wait for it."""
    leaves = f"{sys.executable} -S -I {WORK} daemon {scene.log} {scene.folder / 'gate-daemon'} & exit 3"

    ours = scene.run(argv=["sh", "-c", leaves])
    scene.wait_for("daemon", "begin")
    ours.wait_for("what it started runs on")
    kept = scene.record()
    scene.let_end("daemon")
    result = ours.end()

    assert kept is not None
    assert result.code == 3, str(result)
    assert scene.record() is None


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
