"""
The long form: `python -m tests.simulation --minutes 10` plays new seeds until time is up.

`--seed n` (or TFGUARD_SEED=n) replays one schedule and prints its timeline; `--mutants` looks whether each deliberate
fault is found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.schedule import Simulation
from tests.simulation.world import Violation

#: Seeds that each mutant is given to be found by.
MUTANT_SEEDS = 1500


@dataclass
class Tally:
    """What a number of schedules came to."""

    schedules: int = 0
    events: int = 0
    takeovers: int = 0
    losses: int = 0
    waits: int = 0
    violations: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def report(self, seconds: float) -> str:
        return (
            f"{self.schedules} schedules in {seconds:.0f} s, {self.schedules / seconds:.0f} a second"
            f" ({self.events / seconds:.0f} events a second)\n"
            f"{self.takeovers} takeovers, {self.losses} losses declared, {self.waits} looks at a busy lock,"
            f" {self.violations} violations"
        )


def play(minutes: float, first: int, step: int = 1) -> Tally:
    """Play each `step`-th seed from `first` until time is up; violations are printed with their timelines."""
    simulation, tally, until = Simulation(), Tally(), time.monotonic() + minutes * 60
    seed = first
    while time.monotonic() < until:
        try:
            result = simulation.play(seed)
            tally += Tally(1, result.events, result.takeovers, result.losses, result.waits)
        except Violation as violation:
            print(violation, "\n", flush=True)
            tally += Tally(schedules=1, violations=1)
        seed += step
    return tally


def play_in_processes(minutes: float, first: int, processes: int) -> Tally:
    """The same, divided among processes."""
    shares = [(minutes, first + index, processes) for index in range(processes)]
    if processes == 1:
        return play(*shares[0])
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.starmap(play, shares), Tally())


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
    parser.add_argument("--mutants", action="store_true", help="try the deliberate faults instead")
    options = parser.parse_args()
    if options.seed is not None:
        print(Simulation().replay(options.seed))
        return 0
    if options.mutants:
        survived = judge_mutants()
        print(f"{len(MUTANTS) - len(survived)}/{len(MUTANTS)} killed")
        return min(len(survived), 1)
    first = options.first if options.first is not None else int(time.time()) % 10**6 * 10**6
    started = time.monotonic()
    tally = play_in_processes(options.minutes, first, options.processes)
    print(f"{tally.report(time.monotonic() - started)}, seeds from {first}")
    return min(tally.violations, 1)


if __name__ == "__main__":
    sys.exit(main())
