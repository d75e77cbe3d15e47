"""
The long form: `python -m tests.simulation --minutes 10` plays new seeds until time is up.

`--seed n` (or TFGUARD_SEED=n) replays one schedule and prints its timeline, with `--pg` one of a lock in
PostgreSQL, which is a connection's; `--mutants` looks whether each deliberate fault is found.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.schedule import Simulation
from tests.simulation.tally import play_in_processes

os.environ["TFGUARD_TEST_SHORT_LEASE"] = "1"  # Its leases are short, so that little has to be simulated.

#: Seeds that each mutant is given to be found by.
MUTANT_SEEDS = 1500


def is_killed(mutant: Mutant, seeds: int = MUTANT_SEEDS) -> bool:
    """Whether the simulation, or, where the mutant names them, unit tests, find this fault."""
    if mutant.tests:
        with tempfile.TemporaryDirectory() as folder:
            return mutant.is_killed_by_tests(mutant.tests, Path(folder))
    return mutant.killed_by(range(seeds)) is not None


def judge_mutants(mutants: Iterable[Mutant] = MUTANTS) -> list[str]:
    """Try every mutant, and print what became of it; gives the names of those that survived."""
    survived = []
    for mutant in mutants:
        found = is_killed(mutant)
        survived += [] if found else [mutant.name]
        print(f"{'killed  ' if found else 'SURVIVED'}  {mutant.name}", flush=True)
    return survived


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=1, help="divide the schedules among so many")
    parser.add_argument("--first", type=int, help="the first seed; another one each time if not given")
    parser.add_argument("--seed", type=int, default=os.environ.get("TFGUARD_SEED"), help="replay this one schedule")
    parser.add_argument("--pg", action="store_true", help="of the schedules of a lock that is a connection's")
    parser.add_argument("--mutants", action="store_true", help="try the deliberate faults instead")
    options = parser.parse_args()
    if options.seed is not None:
        print(Simulation(is_carried=options.pg).replay(options.seed))
        return 0
    if options.mutants:
        survived = judge_mutants()
        print(f"{len(MUTANTS) - len(survived)}/{len(MUTANTS)} killed")
        return min(len(survived), 1)
    first = options.first if options.first is not None else int(time.time()) % 10**6 * 10**6
    started = time.monotonic()
    tally = play_in_processes(options.minutes, first, options.processes)
    print(tally.report(time.monotonic() - started, first))
    return min(tally.violations, 1)


if __name__ == "__main__":
    sys.exit(main())
