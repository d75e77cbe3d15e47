"""
What decides, under thousands of seeded schedules; `observer` says what is promised.

A failure prints its seed and timeline; `python -m tests.simulation --seed <seed>` replays it. Short here; `make soak`
plays new schedules for half of its time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.__main__ import is_killed
from tests.simulation.mutants import CARRIED_TRAPS, MUTANTS
from tests.simulation.schedule import Simulation
from tests.support.eventually import patience

#: Schedules in each slice: the slices share the work among pytest's workers.
SLICE = 1250
#: Schedules where the lock is a connection's.
CARRIED = 400


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.long)])
def test_no_promise_is_broken_whatever_the_network_and_the_machines_do(part):
    simulation = Simulation()

    results = [simulation.play(seed) for seed in range(part * SLICE, (part + 1) * SLICE)]

    assert sum(result.takeovers for result in results) > SLICE / 20
    assert sum(result.losses for result in results) > SLICE / 50
    assert sum(result.waits for result in results) > SLICE * 5


@pytest.mark.slow
def test_no_promise_is_broken_where_the_lock_is_free_for_all_once_a_connection_ends():
    simulation = Simulation(is_carried=True)

    results = [simulation.play(seed) for seed in (*CARRIED_TRAPS, *range(CARRIED))]

    assert sum(result.takeovers for result in results) > CARRIED / 20
    assert sum(result.severed for result in results) > CARRIED / 20
    assert sum(result.retaken for result in results) > CARRIED / 30


def test_a_seed_replays_exactly():
    simulation = Simulation()

    first, second = simulation.replay(12), simulation.replay(12)

    assert first == second
    assert "holds id-" in first


def test_a_seed_replays_from_the_command_line():
    command = [sys.executable, "-m", "tests.simulation", "--seed", "12"]

    replayed = subprocess.run(command, capture_output=True, text=True)

    assert replayed.stdout.rstrip("\n") == Simulation().replay(12)


def test_schedules_are_divided_among_processes():
    command = [sys.executable, "-m", "tests.simulation", "--minutes", "0.01", "--processes", "2", "--first", "0"]

    played = subprocess.run(command, capture_output=True, text=True, timeout=patience(20))

    assert played.returncode == 0, played.stderr
    assert " 0 violations, seeds from 0\n" in played.stdout
    assert re.search(r"; [1-9]\d* in PostgreSQL$", played.stdout, re.MULTILINE), played.stdout


def test_what_breaks_a_promise_is_told_with_its_timeline():
    broken = Simulation(wrong="releases early")

    told = broken.replay(0)

    assert told.startswith("seed 0: run0 releases while run0/apply runs\n")
    assert "starts under id-" in told


def test_every_deliberate_fault_quotes_the_source_as_it_is():
    assert [edit for mutant in MUTANTS for edit in mutant.edits if not edit.is_possible()] == []


def _each_mutant() -> Iterator[object]:
    """Those that the dice find, and one for each set of unit tests; all others are of the long form."""
    sets: set[tuple[str, ...]] = set()
    for mutant in MUTANTS:
        is_long = mutant.tests and mutant.tests in sets
        sets.add(mutant.tests)
        yield pytest.param(mutant, id=mutant.name.replace(" ", "-"), marks=[pytest.mark.long] if is_long else [])


@pytest.mark.mutant
@pytest.mark.parametrize("mutant", [*_each_mutant()])
def test_a_deliberate_fault_is_found(mutant):
    """Or the checks above prove nothing."""
    assert is_killed(mutant)
