"""
The lock under thousands of seeded schedules; `schedule.py` says what is promised.

A failure prints its seed and timeline; `TFGUARD_SEED=<seed> python -m tests.simulation` replays it.
"""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import is_killed
from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import Simulation

#: Schedules in each slice: the slices share the work among pytest's workers.
SLICE = 200


@pytest.mark.parametrize("part", range(4))
def test_no_promise_is_broken_whatever_the_network_and_the_machines_do(part):
    simulation = Simulation()

    results = [simulation.play(seed) for seed in range(part * SLICE, (part + 1) * SLICE)]

    assert sum(result.takeovers for result in results) > SLICE / 10
    assert sum(result.losses for result in results) > SLICE / 20


def test_a_seed_replays_exactly():
    simulation = Simulation()

    first, second = simulation.replay(7), simulation.replay(7)

    assert first == second
    assert "holds id-" in first


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_deliberate_fault_is_found(mutant):
    """Or the checks above prove nothing."""
    assert is_killed(mutant)
