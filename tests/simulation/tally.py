"""
Schedules by the million: played in several processes, and counted.

In a module of its own, since a new process imports what it is to run by name, and `__main__` is another one there.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, fields

from tests.simulation.schedule import Result, Simulation
from tests.simulation.world import Violation

#: Of so many dozens of schedules one is of a lock that is a connection's; a dozen has all sizes.
CARRIED_ONE_IN = 3
#: What a schedule's result counts as well.
COUNTED = ("events", "takeovers", "losses", "waits", "windows", "longest_window", "severed", "retaken")


@dataclass
class Tally:
    """
    What a number of schedules came to.

    `windows`: how often somebody else (a machine that wakes up, a stranger's SIGCONT) let a child go on that must not;
    in the longest it wrote for `longest_window` seconds, until one of ours had looked. `carried`: schedules in which
    the lock is a connection's; `severed` and `retaken` as in `Result`.
    """

    schedules: int = 0
    events: int = 0
    takeovers: int = 0
    losses: int = 0
    waits: int = 0
    violations: int = 0
    windows: int = 0
    longest_window: float = 0.0
    carried: int = 0
    severed: int = 0
    retaken: int = 0

    @staticmethod
    def of(result: Result) -> Tally:
        """Count one schedule in which nothing was wrong."""
        return Tally(1, **{name: getattr(result, name) for name in COUNTED})

    def __add__(self, other: Tally) -> Tally:
        total = Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))
        total.longest_window = max(self.longest_window, other.longest_window)
        return total

    def report(self, seconds: float, first: int) -> str:
        return (
            f"{self.schedules} schedules in {seconds:.0f} s, {self.schedules / seconds:.0f} a second"
            f" ({self.events / seconds:.0f} events a second); {self.carried} in PostgreSQL\n"
            f"{self.takeovers} takeovers, {self.losses} losses declared, {self.waits} looks at a busy lock,"
            f" {self.windows} wake-ups past safe_until (at most {self.longest_window * 1000:.0f} ms of writing),"
            f" {self.severed} connections lost in PostgreSQL, {self.retaken} locks taken again there,"
            f" {self.violations} violations, seeds from {first}"
        )


def play(minutes: float, first: int, step: int = 1) -> Tally:
    """
    Play each `step`-th seed from `first` until time is up; violations are printed with their timelines.

    A third is of a lock that is a connection's: that code is another, and as much can happen to it.
    """
    usual, carried = Simulation(), Simulation(is_carried=True)  # It takes a while, which is none of theirs.
    tally, until = Tally(), time.monotonic() + minutes * 60
    seed = first
    while time.monotonic() < until:
        is_carried = seed // 12 % CARRIED_ONE_IN == 0
        try:
            tally += Tally.of((carried if is_carried else usual).play(seed))
        except Violation as violation:
            print(violation, "\n", flush=True)
            tally += Tally(schedules=1, violations=1)
        tally.carried += is_carried
        seed += step
    return tally


def play_in_processes(minutes: float, first: int, processes: int) -> Tally:
    """The same, divided among processes."""
    shares = [(minutes, first + index, processes) for index in range(processes)]
    if processes == 1:
        return play(*shares[0])
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.starmap(play, shares), Tally())
