"""The line: row F1. Its rules are played by the hundred in test_waiting; here are its processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.e2e.conftest import TFGUARD
from tests.e2e.running import Running
from tests.faults.scene import Scene, family, on_both_stores
from tests.support.eventually import eventually
from tests.support.fakes import plain
from tests.support.line_world import World
from tests.support.unhurried import UNHURRIED
from tfguard.lock.queue_record import decode

pytestmark = pytest.mark.e2e

#: How many wait at once. `TFGUARD_FAULTS_CROWD=50` is the long form.
CROWD = min(int(os.environ.get("TFGUARD_FAULTS_CROWD", "4")), 50)


def waiting(scene: Scene) -> int:
    """How many stand in line."""
    found = scene.store.read_queue()
    return len(decode(found.text).tickets) if found else 0


def lined_up(scene: Scene, names: Sequence[str], launcher: Sequence[str] = TFGUARD) -> list[Running]:
    """Runs that wait, in the order of their names; nobody else does."""
    runs = []
    for number, name in enumerate(names, start=1):
        runs.append(scene.run(name, launcher=launcher))
        eventually(lambda number=number: waiting(scene) == number, 30, f"{name} in line")
    return runs


@on_both_stores
def test_f1_whoever_dies_in_line_holds_nobody_up(scene: Scene) -> None:
    first = scene.begun("first")
    names = ["dead", *(f"w{number}" for number in range(CROWD))]
    runs = lined_up(scene, names)
    for process in family(runs[0].pid):
        process.kill()
    scene.let_end(*names, "first")

    results = [run.end() for run in (first, *runs[1:])]

    assert [result.code for result in results] == [0] * (CROWD + 1)
    # Behind a dead one the living may overtake one another once: they look for its signs at different times.
    assert sorted(line.name for line in scene.lines(word="begin")) == sorted(["first", *names[1:]])
    assert scene.record() is None


@on_both_stores
def test_f1_a_plain_lock_that_barges_in_is_waited_for_and_the_line_goes_on(scene: Scene) -> None:
    first = scene.begun("first")
    runs = lined_up(scene, ["w1", "w2"], UNHURRIED)

    barging = plain()
    scene.proxy.after_next("delete", lambda: scene.store.create(barging))
    scene.let_end("first", "w1", "w2")
    first.end()
    runs[0].wait_for("plain Terraform")
    nobody_else = scene.lines(word="begin")
    scene.remove()
    results = [run.end() for run in runs]

    assert [line.name for line in nobody_else] == ["first"]
    assert [result.code for result in results] == [0, 0]
    assert [line.name for line in scene.lines(word="begin")] == ["first", "w1", "w2"]


def test_f1_a_hundred_wait_behind_dead_heads_and_each_gets_in() -> None:
    """Simulated clock, the real line: no overlap, no deadlock, and a record that fits into an item many times."""
    world = World()
    world.tfguard("holder", hold=30)
    for number in range(3):
        world.kill(world.tfguard(f"dead{number}", at=1 + number * 0.1), at=3)
    names = [f"w{number}" for number in range(100)]
    for number, name in enumerate(names):
        world.tfguard(name, at=4 + number * 0.1, hold=5)

    world.run(until=20)
    size = len(world.table.queues["lock"].text.encode())
    world.run(until=1200)

    assert 4096 < size < 400_000 / 4
    assert world.overlaps == 0
    assert sorted(world.names) == sorted(["holder", *names])
