"""Giving the lock back when answers get lost, and when we ourselves break down: rows D1 to D5."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.kinds import lease, record
from tests.e2e.conftest import Result
from tests.faults.proxy import LATE, LOST, UNHEARD, Fate, failed, refused
from tests.faults.scene import SHORT_LEASE, Scene, exit_record, on_every_store
from tests.support.eventually import eventually, patience, within
from tfguard.backends.aws.dynamodb import BEAT
from tfguard.guard import keeper_rules
from tfguard.lock import session
from tfguard.process import keeper, lease_thread, program

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("fate", [UNHEARD, failed("500")], ids=["closed", "500-though-done"])
def test_d1_a_release_whose_answer_was_lost_spares_the_rival_that_came(scene: Scene, fate: Fate) -> None:
    """(A plain Terraform's retry deletes the rival's lock, and exits 0.)"""
    theirs = record(lease=lease())
    scene.proxy.on("delete", fate)
    scene.proxy.after_next("delete", lambda: scene.store.create(theirs))

    result = scene.run(argv=["true"]).end()

    kept = scene.record()
    assert kept is not None and kept.id == theirs.id
    assert result.code == 0, str(result)
    assert exit_record(result)["release"] == "released"


@on_every_store
def test_d2_a_release_that_fails_is_tried_again(scene: Scene) -> None:
    scene.proxy.on("delete", LOST, refused("throttled"), refused("500"))

    result = scene.run(argv=["true"], lease=30).end()

    assert result.code == 0, str(result)
    assert exit_record(result)["release"] == "released"
    assert len(scene.proxy.asked("delete")) == 4
    assert scene.record() is None


@on_every_store
def test_d2_a_release_that_never_succeeds_names_the_command_that_frees_the_lock(scene: Scene) -> None:
    """It is tried for as long as the lease lasts; the status is the program's, since its work is done."""
    scene.lease = SHORT_LEASE
    scene.proxy.always("delete", refused("denied"))

    result = scene.run(argv=["sh", "-c", "exit 5"]).end()
    was_left = scene.record()
    scene.proxy.heal()
    command = next(line for line in result.err.splitlines() if f"--id {was_left.id}" in line)
    freed = scene.tfguard(*shlex.split(command[command.index("tfguard ") :])[1:], "--yes")

    assert result.code == 5, str(result)
    assert "the lock could not be released" in result.err
    assert freed.returncode == 0, freed.stderr
    assert scene.record() is None


@pytest.mark.parametrize("fate", [LATE, UNHEARD, failed("500")], ids=["beat-lands-after", "before", "500-though-done"])
@on_every_store
def test_d3_a_beat_in_flight_neither_stops_the_release_nor_undoes_it(scene: Scene, fate: Fate) -> None:
    ours = scene.beating()

    count = len(scene.proxy.asked("replace"))
    scene.proxy.on("replace", fate)
    eventually(lambda: len(scene.proxy.asked("replace")) > count, 20, "the beat in flight")
    scene.let_end()
    result = ours.end()
    late = scene.proxy.land_late()

    assert result.code == 0, str(result)
    assert len(late) == (fate is LATE)
    assert 200 not in late
    assert scene.record() is None


@on_every_store
def test_d4_after_a_loss_nothing_is_released(scene: Scene) -> None:
    """Neither the record that is gone, nor the one that another has written since."""
    ours = scene.beating(manner="stubborn")
    theirs = record(lease=lease())

    scene.remove()
    scene.wait_for("a", "asked")
    scene.store.create(theirs)
    scene.let_end()
    result = ours.end()

    kept = scene.record()
    assert result.code == 76, str(result)
    assert scene.proxy.asked("delete") == []
    assert kept is not None and kept.id == theirs.id


# --- D5 -------------------------------------------------------------------------------------------------------------

#: By then a keeper has done all that it does while it holds a lock.
BEATS = 4
BROKEN = Path(__file__).with_name("broken.py")
#: Where a keeper breaks down in the short form: once in each of its phases. `TFGUARD_FAULTS_BREAK=all` breaks them all.
PHASES = (
    "process.keeper.Keeper._on_front",
    "process.program.Program.start",
    "process.keeper.Keeper._enforce",
    "process.keeper.Keeper._reap",
    "guard.keeper_rules.KeeperRules._on_held",
    "guard.keeper_rules.KeeperRules.on_exit",
    "lock.session.LockSession._wait",
    "lock.session.LockSession._hold",
    "lock.session.LockSession._renew",
    "lock.session.LockSession._release_for_a_lease",
    "lock.session.LockSession._write_history",
)


def every_method() -> list[str]:
    """All that a keeper does: its loop, its decisions, its lease."""
    kinds = (keeper.Keeper, lease_thread.Lease, program.Program, keeper_rules.KeeperRules, session.LockSession)
    return [
        f"{kind.__module__.removeprefix('tfguard.')}.{kind.__name__}.{name}"
        for kind in kinds
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and name != "__init__"
    ]


@pytest.mark.parametrize("scene", ["dynamodb"], indirect=True)
def test_d5_wherever_a_keeper_breaks_down_the_lock_is_released_and_the_work_has_ended(scene: Scene) -> None:
    """By the successor that the front starts: long before the lease is over, and with no second SIGINT."""
    methods = every_method() if os.environ.get("TFGUARD_FAULTS_BREAK") == "all" else PHASES

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda method: broken_run(scene, method), methods))

    assert set(PHASES) <= set(every_method())
    assert {each.method for each in ended if each.has_fired} >= set(PHASES)
    for each in ended:
        assert each.is_released, f"{each.method} leaves the lock: {each.result}"
        assert each.asked <= 1, f"{each.method} asks twice: {each.result}"
        assert each.result.code in {0, 1, 3, 70, -signal.SIGINT}, f"{each.method}: {each.result}"
        assert "Traceback" not in each.result.err, f"{each.method}: {each.result}"


@dataclass(frozen=True)
class Ended:
    """How a run ended whose first keeper broke down in `method`."""

    method: str
    has_fired: bool
    is_released: bool
    asked: int
    result: Result


def broken_run(scene: Scene, method: str) -> Ended:
    fired = scene.folder / f"fired-{method}"
    ours = scene.run(method, lock=method, lease=9, launcher=[sys.executable, str(BROKEN), method, str(fired)])
    has_begun = eventually(lambda: scene.lines(method, "begin") or ours.process.poll() is not None, 60, method)
    if has_begun:
        # It breaks at a heartbeat, or only when the work has ended.
        eventually(lambda: fired.exists() or _beat(scene, method) >= BEATS, 30, f"{method} or heartbeats")
        scene.let_end(method)
    result = ours.end()
    within(patience(10), lambda: not _is_held(scene, method))
    return Ended(method, fired.exists(), not _is_held(scene, method), scene.times(method, "asked"), result)


def _is_held(scene: Scene, lock: str) -> bool:
    return scene.kind.server.item(scene.kind.spec.table, lock) is not None


def _beat(scene: Scene, lock: str) -> int:
    """The number of the lock's last heartbeat."""
    item = scene.kind.server.item(scene.kind.spec.table, lock) or {}
    return int(item.get(BEAT, {}).get("N", 0))
