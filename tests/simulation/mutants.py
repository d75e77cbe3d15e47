# ruff: noqa: E501  (an edit quotes the source as it stands)
"""
Deliberate faults in the lock core, most of them somebody's real bug; the simulation has to find each.

A fault is an edit of the source of `lease` or `watchdog` (`coroutines.load` applies it to a copy), or, where the
keeper's loop is what is wrong, a `Wrong` of the simulated keeper.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.coroutines import Edit
from tests.simulation.schedule import Simulation
from tests.simulation.world import Violation

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """
    One fault. `wrong` names a fault of the simulated keeper instead.

    `tests`: the dice come upon it too rarely; these unit tests find it.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    wrong: str = ""
    tests: tuple[str, ...] = ()

    def killed_by(self, seeds: range) -> int | None:
        """Give the first seed whose schedule breaks a promise, None if all hold."""
        simulation = Simulation(self.edits, wrong=self.wrong)
        for seed in seeds:
            try:
                simulation.play(seed)
            except Violation:
                return seed
        return None

    def is_killed_by_tests(self, tests: tuple[str, ...], folder: Path) -> bool:
        """Run unit tests against a copy of the package with this fault in it; says whether any fails."""
        shutil.copytree(_ROOT / "tfguard", folder / "tfguard", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(_ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "e2e"))
        shutil.copy(_ROOT / "pyproject.toml", folder)
        for edit in self.edits:
            edit.apply(folder / "tfguard")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if ended.returncode not in {0, 1}:
            raise RuntimeError(ended.stdout + ended.stderr)
        return ended.returncode == 1


def _lease(name: str, *changes: tuple[str, str], tests: tuple[str, ...] = ()) -> Mutant:
    return Mutant(name, tuple(Edit("lease", old, new) for old, new in changes), tests=tests)


def _watchdog(name: str, *changes: tuple[str, str], tests: tuple[str, ...] = ()) -> Mutant:
    return Mutant(name, tuple(Edit("watchdog", old, new) for old, new in changes), tests=tests)


MUTANTS = (
    _lease(
        "a new lease is counted from the answer",
        ("HeldLease(store, stored, sent_at, self._clock)", "HeldLease(store, stored, self._clock.boottime(), self._clock)"),
    ),
    _lease(
        "a beat is counted from the answer",
        ("self.base = max(self.base, sent_at)", "self.base = self._clock.boottime()"),
    ),
    _lease(
        "a beat is assumed landed after a failed condition",
        ("        except Conflict:\n            self.look()", "        except Conflict:\n            self.base = sent_at"),
    ),
    _lease(
        "a heartbeat re-creates what somebody unlocked",
        (
            "        if found is None:\n            raise LeaseLost(",
            "        if found is None:\n            with contextlib.suppress(Conflict):\n                found = self.store.create(self.record)\n        if found is None:\n            raise LeaseLost(",
        ),
        tests=("tests/lease",),
    ),
    _lease(
        "a release deletes whatever is there",
        (
            "                self.store.delete(self.record)\n",
            "                there = self.store.read()\n                self.store.delete(there or self.record)\n",
        ),
    ),
    _lease(
        "a takeover replaces whatever is there",
        ("store.replace(seen, record) if seen", "store.replace(store.read() or seen, record) if seen"),
    ),
    _lease(
        "our own conflict is taken for a loss",
        (
            "        except Conflict:\n            self.look()",
            "        except Conflict as error:\n            raise LeaseLost('', kind=\"another's\") from error",
        ),
    ),
    _lease(
        "our own record is taken for another's",
        ("elif (index, record.id) in self._sent:", "elif index < 0:"),
        ("if record is None or (index, record.id) in self._sent:", "if record is None:"),
        ("if record is None or record.id != self._id:", "if True:"),
    ),
    _lease(
        "an observation is timed from the question",
        ("        record = store.read()\n        self.watches", "        asked = self._clock.boottime()\n        record = store.read()\n        self.watches"),
        ("see(record, self._clock.boottime(), getattr", "see(record, asked, getattr"),
    ),
    _lease("a lock is taken over before its lease is over", ("self.expires_in(now) <= 0", "self.expires_in(now) <= 5")),
    _lease(
        "a waiter goes by its own lease",
        (
            "if not self.watches[index].is_expired(self._clock.boottime()):",
            "if self.watches[index].since + self._draft.duration_ms / 1000 > self._clock.boottime():",
        ),
    ),
    _lease("a plain lock expires too", ('return 0.0 if self._is_over else float("inf")', "return self.since + 30 - now"), tests=("tests/lease",)),
    _lease(
        "a beat number is used twice",
        ("self._next_beat = self._next_beat, self._next_beat + 1", "self._next_beat = self.record.beat + 1, 0"),
        (" and record.lease is not None and record.lease.sent == sent_at", ""),
    ),
    _lease("a successor starts below its predecessor's beats", (" and record.lease is not None and record.lease.sent == sent_at", ""), ("self._next_beat = max(self._next_beat, upto)", "pass"), tests=("tests/lease",)),
    _lease("a takeover uses its ID again", ("if seen is not None and index == 0:", "if index < 0:"), tests=("tests/lease",)),
    _lease("half a lock is not given back", ("self._undo(held or self._leftovers())", "pass"), tests=("tests/lease",)),
    _lease(
        "of two records only the first is beaten",
        ("        for lease in self.leases:\n            try:\n                lease.renew", "        for lease in self.leases[:1]:\n            try:\n                lease.renew"),
    ),
    _lease("of two deadlines the later counts", ("return min(lease.base for", "return max(lease.base for")),
    _lease("a lost answer to a delete is never looked after", ("                self._may_be_deleted = True\n                found = self.store.read()\n", "                return 'released'\n"), tests=("tests/lease",)),
    _watchdog("nobody freezes", ("        if is_unsafe:\n            return self._freeze()", "        if is_unsafe:\n            return []")),
    _watchdog("another's lock is no reason to stop", ('if self.lost == "another\'s":', "if not self:"), tests=("tests/test_watchdog.py",)),
    _watchdog("a lost lease is extended", ("if self.lost is None and base > self.base:", "if base > self.base or True:"), tests=("tests/test_watchdog.py",)),
    _watchdog("an unlocked child may go on", ("return self._freeze() + self._kill() if is_unsafe else self._interrupt()", "return []")),
    _watchdog("a second signal is sent", ("claimed = not self.is_interrupted", "claimed = True")),
    _watchdog("a child that starts too late is not frozen", ("self.is_interrupted = self.is_frozen = False", "self.is_interrupted = False"), tests=("tests/test_watchdog.py",)),
    _watchdog("safe_until is the takeover itself", ("self.base + self.deadlines.freeze", "self.base + self.deadlines.takeover")),
    Mutant(
        "the clock does not count suspension",
        (Edit("clock", "getattr(time, \"CLOCK_BOOTTIME\", None) or time.CLOCK_MONOTONIC", "time.CLOCK_MONOTONIC"),),
        tests=("tests/test_clock.py",),
    ),
    Mutant("the keeper is stopped and nobody watches", wrong="front sleeps"),
    Mutant("a successor counts from its own reading", wrong="adopts from now"),
    Mutant("the lock is released before the child is gone", wrong="releases early"),
    Mutant("a sleeping machine's clock stands still", wrong="clock stops"),
)  # fmt: skip
