"""
The long form: `python -m tests.simulation --minutes 10` plays new seeds until time is up.

TFGUARD_SEED=n replays one schedule and prints its timeline. `--mutants` looks whether each deliberate fault is found.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.schedule import Simulation
from tests.simulation.world import Violation

#: Seeds that each mutant is given to be found by.
MUTANT_SEEDS = 2000


def play(minutes: float, first: int) -> int:
    """Play schedule after schedule; gives the number of violations."""
    simulation = Simulation()
    started, violations, played, takeovers, losses = time.monotonic(), 0, 0, 0, 0
    while time.monotonic() - started < minutes * 60:
        try:
            result = simulation.play(first + played)
            takeovers += result.takeovers
            losses += result.losses
        except Violation as violation:
            violations += 1
            print(violation, "\n", flush=True)
        played += 1
    seconds = time.monotonic() - started
    print(
        f"{played} schedules in {seconds:.0f} s, {played / seconds:.0f} a second, seeds {first} to {first + played - 1}"
    )
    print(f"{takeovers} takeovers, {losses} losses declared, {violations} violations")
    return violations


def is_killed(mutant: Mutant, seeds: int = MUTANT_SEEDS) -> bool:
    """Whether the simulation, or, where the mutant names them, unit tests, find this fault."""
    if mutant.tests:
        with tempfile.TemporaryDirectory() as folder:
            return mutant.is_killed_by_tests(mutant.tests, Path(folder))
    return mutant.killed_by(range(seeds)) is not None


def judge_mutants() -> int:
    """Try every mutant; gives the number that survived."""
    killed = 0
    for mutant in MUTANTS:
        found = is_killed(mutant)
        killed += found
        print(f"{'killed  ' if found else 'SURVIVED'}  {mutant.name}", flush=True)
    print(f"{killed}/{len(MUTANTS)} killed")
    return len(MUTANTS) - killed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--first", type=int, help="the first seed; another one each time if not given")
    parser.add_argument("--mutants", action="store_true", help="try the deliberate faults instead")
    options = parser.parse_args()
    if seed := os.environ.get("TFGUARD_SEED"):
        print(Simulation().replay(int(seed)))
        return 0
    if options.mutants:
        return min(judge_mutants(), 1)
    first = options.first if options.first is not None else int(time.time()) % 10**6 * 10**6
    return min(play(options.minutes, first), 1)


if __name__ == "__main__":
    sys.exit(main())
