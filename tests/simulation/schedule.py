"""
One seeded schedule: who runs when, what breaks when, and the promises that are checked after every step.

| promise   | checked                                                                                         |
|-----------|-------------------------------------------------------------------------------------------------|
| exclusion | no two children write at once; one whose lock was force-unlocked may, up to its `safe_until`    |
| one signal| a child gets one SIGINT of ours (the kernel's, when a keeper dies, is another matter)           |
| no alarm  | nobody declares a loss while the record is, and always was, its own                             |
| no wait   | nobody finds the lock busy with a record of its own                                             |
| no theft  | nobody deletes another's record; nobody takes over one that he has not watched for its lease    |
| takeover  | nobody goes on waiting for a record that has been silent for its lease and two polls            |
| beats     | a record's beat never goes down while the lock ID is the same                                   |
| tokens    | each acquisition's token is above all before                                                    |
| the end   | once the network is well and all are awake, everybody has had the lock and nothing is left      |
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.simulation.actors import POLL, Child, Code, Plain, Run
from tests.simulation.coroutines import Edit, load
from tests.simulation.world import TIMEOUT, Machine, Violation, Wire, World
from tfguard.deadlines import TICK_SECONDS
from tfguard.lockinfo import LockInfo
from tfguard.store import LockRecord

LEASES = (20.0, 30.0, 45.0)
#: Faults happen within this many seconds; afterwards the world is healed and has to come to rest.
HORIZON = 150.0
_REST = 1500.0
#: A request, and the pause after one that failed, in seconds.
_SLACK = 2 * POLL + 2 * (TIMEOUT + 3.0)


class Observer:
    """Sees everything, and knows what must never be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: list[Run] = []
        self.plains: list[Plain] = []
        self.excused: dict[str, float] = {}
        self.takeovers = 0
        self.losses = 0
        self._removed: set[str] = set()
        self._first: dict[tuple[str, int], tuple[Any, float]] = {}
        self._token = 0

    def on_read(self, wire: Wire, record: LockRecord | None) -> None:
        key = (wire.process.name, wire.index)
        sight = (record.text, record.beat) if record else None
        if self._first.get(key, (None, 0.0))[0] != sight:
            self._first[key] = (sight, wire.process.machine.boottime())

    def on_written(self, wire: Wire, before: LockRecord | None, after: LockRecord | None, *, is_late: bool) -> None:
        ours = self._run_of(wire).ids
        if before is not None and (after is None or after.id != before.id):
            self._removed.add(before.id)
        if after is None and before is not None and before.id not in ours:
            self.world.fail(f"{wire.process.name} deleted {before.id}, which is another's")
        if before is None and after is not None and after.id in self._removed:
            self._on_revived(after.id, is_late=is_late)
        if before is None or after is None:
            return
        if before.id != after.id and before.id not in ours:
            self._check_takeover(wire, before)
        elif before.id == after.id and after.beat <= before.beat:
            self.world.fail(f"{after.id} went from beat {before.beat} to {after.beat}")

    def _on_revived(self, lock_id: str, *, is_late: bool) -> None:
        """
        Unlocked by a person while it was being taken, and created once more.

        By its owner: it is held again. By a write that its owner had given up on, or by a late copy: before a beat was
        seen, nobody can tell it from a lock that was never unlocked. That hole is known; it takes a force-unlock in
        the first second.
        """
        if is_late:
            self.excused[lock_id] = float("inf")
        else:
            self._removed.discard(lock_id)
            self.excused.pop(lock_id, None)

    def _check_takeover(self, wire: Wire, before: LockRecord) -> None:
        self.takeovers += 1
        if before.lease is None:
            self.world.fail(f"{wire.process.name} took the lock of a plain Terraform")
        sight, since = self._first.get((wire.process.name, wire.index), (None, 0.0))
        watched = wire.process.machine.boottime() - since
        assert before.lease is not None
        if sight != (before.text, before.beat) or watched < before.lease.duration_ms / 1000:
            self.world.fail(f"{wire.process.name} took {before.id} after watching it for {watched:.2f} s")

    def on_busy(self, run: Run, record: LockRecord | None) -> None:
        if record is None:
            return
        if record.id in run.ids:
            self.world.fail(f"{run.name} waits for itself")
        for index in range(len(self.world.stores)):
            sight, since = self._first.get((run.keeper.name, index), (None, 0.0))
            if sight == (record.text, record.beat) and record.lease is not None:
                silence = run.machine.boottime() - since
                if silence > record.lease.duration_ms / 1000 + _SLACK:
                    self.world.fail(f"{run.name} still waits for {record.id}, silent for {silence:.1f} s")

    def on_lost(self, run: Run, kind: str) -> None:
        self.losses += 1
        current = [self.world.record(index) for index in range(len(self.world.stores))]
        is_ours = all(record is not None and record.id in run.ids for record in current)
        if is_ours and not self._removed & run.ids:
            self.world.fail(f"{run.name} declares its lock lost ({kind}), which it holds")

    def on_held(self, run: Run, lock: Any) -> None:
        if lock.id in self._removed:
            return
        if lock.token and lock.token <= self._token:
            self.world.fail(f"{run.name} has token {lock.token}, after {self._token}")
        self._token = max(self._token, lock.token)
        self.on_beaten(run, lock)

    def on_beaten(self, run: Run, lock: Any) -> None:
        """The holder now counts from `base`; that is true only if every record shows a beat sent no earlier."""
        for index in range(len(self.world.stores)):
            record = self.world.record(index)
            if record is not None and record.id == lock.id and record.lease and record.lease.sent < lock.base - 1e-6:
                self.world.fail(f"{run.name} counts from {lock.base - record.lease.sent:.2f} s after its last beat")

    def on_writing(self, child: Child) -> None:
        writing = [each for each in self._children() if each.is_writing]
        blamed = [each for each in writing if not self._is_excused(each)]
        if len(blamed) > 1:
            self.world.fail("two write at once: " + " and ".join(each.name for each in blamed))

    def check_signals(self) -> None:
        for run in self.runs:
            if run.child and run.child.signals > 1 and run.keeper.is_alive and not run.was_succeeded:
                self.world.fail(f"{run.child.name} had {run.child.signals} SIGINTs")

    def on_unlocked(self, record: LockRecord) -> None:
        """A person removed this lock: its child has up to its `safe_until` to be gone."""
        self._removed.add(record.id)
        for run in self.runs:
            if record.id in run.ids:
                window = run.machine.real(run.lease * 3 / 5 + 1.2 * TICK_SECONDS)
                until = self.excused.setdefault(record.id, self.world.time + window)
                self.world.at(until + 1e-6, lambda run=run: self._check_gone(run, record.id))  # type: ignore[misc]
        for plain in self.plains:
            if record.id == plain.record.id:
                self.excused[record.id] = float("inf")  # It has no lease, and will never know.

    def _check_gone(self, run: Run, lock_id: str) -> None:
        if (
            run.child
            and run.child.is_writing
            and lock_id in run.child.lock_ids
            and self.world.time > self.excused.get(lock_id, self.world.time)
        ):
            self.world.fail(f"{run.child.name} still writes after its lock was unlocked and its lease is over")

    def _is_excused(self, child: Child) -> bool:
        return any(self.world.time <= self.excused.get(lock_id, -1.0) for lock_id in child.lock_ids)

    def _children(self) -> list[Child]:
        return [each.child for each in (*self.runs, *self.plains) if each.child is not None]

    def _run_of(self, wire: Wire) -> Run:
        return next(run for run in self.runs if wire.process.name.startswith(f"{run.name}/"))


@dataclass
class Result:
    """What one schedule came to."""

    seed: int
    takeovers: int
    losses: int
    runs: int
    steps: int


class Simulation:
    """One code under test, and any number of schedules."""

    def __init__(self, edits: tuple[Edit, ...] = (), *, wrong: str = "") -> None:
        self.code = Code(load("lease", edits), load("watchdog", edits, is_suspending=False), wrong)

    def play(self, seed: int) -> Result:
        """Play one schedule. Raises Violation with its timeline."""
        world, observer = self._play(seed)
        return Result(seed, observer.takeovers, observer.losses, len(observer.runs), len(world.timeline))

    def replay(self, seed: int) -> str:
        """Play one schedule, and give its timeline."""
        try:
            return _timeline(self._play(seed)[0])
        except Violation as violation:
            return str(violation)

    def _play(self, seed: int) -> tuple[World, Observer]:
        world = World(seed, stores=2 if seed % 4 == 3 else 1)
        self.code.lease.__dict__.update(new_lock_id=world.new_id, boot_id=lambda: "boot")
        world.observer = observer = Observer(world)
        try:
            Schedule(world, observer, self.code).play()
        except Violation as violation:
            raise Violation(f"seed {seed}: {violation}\n{_timeline(world)}") from None
        return world, observer


def _timeline(world: World) -> str:
    return "\n".join(f"{time:9.3f}  {who:<16} {what}" for time, who, what in world.timeline)


class Schedule:
    """Decides, by the world's dice, what happens; then waits for the world to come to rest."""

    def __init__(self, world: World, observer: Observer, code: Code) -> None:
        self.world = world
        self.observer = observer
        self.code = code
        self.dice: random.Random = world.random
        rates = (1.0, 1.0) if self.dice.random() < 0.3 else (0.8, 1.25)
        count = self.dice.randint(2, 4)
        self.machines = [Machine(world, f"m{index}", self.dice.uniform(*rates)) for index in range(count)]
        self.is_healed = False

    def play(self) -> None:
        self._make_weather()
        for index, machine in enumerate(self.machines):
            self._plan_run(machine, f"run{index}", self.dice.uniform(0, 20))
        for index in range(self.dice.randint(0, 2)):
            self._plan_run(self.dice.choice(self.machines), f"late{index}", self.dice.uniform(20, HORIZON))
        for _ in range(self.dice.randint(0, 5)):
            self.world.at(self.dice.uniform(1, HORIZON), self.dice.choice(self._faults()))
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            self.world.at(self.dice.uniform(0, HORIZON), self._barge)
        self.world.run(HORIZON)
        self._heal()
        self.world.run(HORIZON + _REST, self._is_at_rest)
        self._check_end()

    # --- who ----------------------------------------------------------------------------------------------------

    def _plan_run(self, machine: Machine, name: str, at: float) -> None:
        lease, work = self.dice.choice(LEASES), self.dice.choice((2.0, 10.0, 40.0, 90.0))
        stop = self.dice.uniform(0.1, lease)

        def start() -> None:
            self.observer.runs.append(Run(machine, self.code, name, lease=lease, work=work, stop=stop))

        self.world.at(at, start)

    def _barge(self) -> None:
        info = LockInfo(id=self.world.new_id(), who="plain")
        record = LockRecord(text=info.encode(), info=info)
        self.observer.plains.append(Plain(self.world, f"plain-{info.id}", record, self.dice.uniform(1, 30)))

    # --- what breaks --------------------------------------------------------------------------------------------

    def _make_weather(self) -> None:
        if self.dice.random() < 0.6:
            weather = self.world.weather
            weather.lost, weather.unheard, weather.late, weather.twice = (
                self.dice.choice((0.0, 0.05, 0.2)) for _ in range(4)
            )
            weather.lateness = self.dice.choice((2.0, 10.0, 60.0))

    def _faults(self) -> list[Any]:
        return [
            self._cut, self._cut, self._pause, self._pause, self._suspend, self._kill_keeper, self._kill_front,
            self._kill_machine, self._unlock, self._jump,
        ]  # fmt: skip

    def _some_run(self) -> Run | None:
        alive = [run for run in self.observer.runs if not run.is_over]
        holding = [run for run in alive if run.has_held]
        return self.dice.choice(holding or alive) if alive else None

    def _duration(self) -> float:
        return self.dice.choice((self.dice.uniform(0, 5), self.dice.uniform(0, 30), self.dice.uniform(20, 80)))

    def _cut(self) -> None:
        run = self._some_run()
        if run:
            run.machine.cut_until = self.world.time + self._duration()
            self.world.tell(run.machine.name, f"cut off until {run.machine.cut_until:.1f}")

    def _pause(self) -> None:
        """Stop the keeper or the front, never both: that nobody promises to survive."""
        run = self._some_run()
        if run:
            process, other = self.dice.sample((run.keeper, run.front), 2)
            if other.is_alive and not other.is_paused:
                process.pause()
                self.world.after(self._duration(), process.resume)

    def _suspend(self) -> None:
        """The whole machine sleeps, and its clock counts it."""
        run = self._some_run()
        if not run or run.keeper.is_paused or run.front.is_paused:
            return
        child = run.child
        for process in (run.keeper, run.front):
            process.pause()
        was_frozen = child is None or child.is_frozen
        if child and not was_frozen:
            child.freeze()

        def wake() -> None:
            # The keeper looks at the clock first, so a child that must not go on is frozen before it runs.
            if child and not was_frozen:
                child.is_frozen = False
                child._since = self.world.time
            for process in (run.keeper, run.front):
                process.resume()
            if child and child.is_writing:
                child._plan()
                self.observer.on_writing(child)

        duration = self._duration()
        if self.code.wrong == "clock stops":
            run.machine.sleep(duration)
        self.world.after(duration, wake)

    def _kill_keeper(self) -> None:
        run = self._some_run()
        if run and run.front.is_alive and not run.front.is_paused:
            run.kill_keeper()

    def _kill_front(self) -> None:
        run = self._some_run()
        if run and run.keeper.is_alive and not run.keeper.is_paused:
            run.kill_front()

    def _kill_machine(self) -> None:
        run = self._some_run()
        if run:
            run.kill_machine()

    def _jump(self) -> None:
        self.dice.choice(self.machines).jump(self.dice.choice((-3600.0, 3600.0)))

    def _unlock(self) -> None:
        """A person removes whatever lock there is."""
        for index, store in enumerate(self.world.stores):
            record = self.world.record(index)
            if record is not None:
                store.delete(record)
                self.world.tell("a person", f"force-unlocks {record.id}")
                self.observer.on_unlocked(record)

    # --- the end ------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        self.world.weather = type(self.world.weather)()
        self.world.tell("world", "healed")
        for machine in self.machines:
            machine.cut_until = 0.0
        self.is_healed = True

    def _is_at_rest(self) -> bool:
        return all(run.is_over for run in self.observer.runs) and all(
            plain.child and plain.child.is_gone for plain in self.observer.plains
        )

    def _check_end(self) -> None:
        self.observer.check_signals()
        waiting = [run.name for run in self.observer.runs if not run.is_over]
        if waiting:
            self.world.fail(f"never came to an end: {', '.join(waiting)}")
