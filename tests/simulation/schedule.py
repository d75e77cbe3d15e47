"""
One seeded schedule: who runs when, and what breaks when. What must hold all the same is in `observer`.

Most schedules are short, with up to three runs and two faults; one in twelve is long, with a line of them. Leases are
of some seconds: what counts is their proportion to requests, looks and faults, and so more of them fit a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.actors import Plain, Run, request
from tests.simulation.code import Code, Edit
from tests.simulation.observer import WAKE_SECONDS, Observer
from tests.simulation.postgres import Server
from tests.simulation.world import DENIED, THROTTLED, Machine, Process, Violation, Weather, World
from tfguard.guard import messages
from tfguard.lock import queue_record
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord, QueueRecord

LEASES = (6.0, 9.0, 15.0)
#: Once the world is healed, all have to come to rest within so many seconds.
_REST = 400.0
#: A stranger who finds nothing frozen looks again, so often.
_THAW_TRIES = 8


@dataclass(frozen=True)
class Size:
    """How large a schedule is. Faults happen within `horizon` seconds; `latecomers` arrive within it."""

    horizon: float
    runs: tuple[int, int]
    latecomers: int
    faults: int
    work: tuple[float, ...]


SHORT = Size(horizon=10.0, runs=(1, 2), latecomers=1, faults=2, work=(0.5, 2.0, 6.0))
LONG = Size(horizon=90.0, runs=(3, 6), latecomers=3, faults=6, work=(0.5, 2.0, 8.0, 20.0))
#: Of so many schedules one is long.
_ONE_IN = 12


@dataclass
class Result:
    """What one schedule came to. `waits` counts looks at a busy lock, `events` whatever happened.

    `severed`: how often what carried a lock ended; `retaken`: how often it was carried again.
    """

    seed: int
    takeovers: int
    losses: int
    waits: int
    events: int
    windows: int
    longest_window: float
    severed: int
    retaken: int


class Simulation:
    """
    One code under test, and any number of schedules.

    `is_carried`: the store is PostgreSQL's, where the lock is a connection's.
    """

    def __init__(self, edits: tuple[Edit, ...] = (), *, wrong: str = "", is_carried: bool = False) -> None:
        self.code = Code(edits, wrong=wrong)
        self._is_carried = is_carried

    def play(self, seed: int) -> Result:
        """Play one schedule. Raises Violation with its timeline."""
        world = self._play(seed)
        observer = world.observer
        return Result(
            seed,
            observer.takeovers,
            observer.losses,
            observer.waits,
            world.events,
            observer.windows,
            observer.longest_window,
            observer.severed,
            observer.retaken,
        )

    def replay(self, seed: int) -> str:
        """Play one schedule, and give its timeline."""
        try:
            return _timeline(self._play(seed))
        except Violation as violation:
            return str(violation)

    def _name_of(self, seed: int) -> str:
        """What to say on the command line to have it again."""
        return f"seed {seed} --pg" if self._is_carried else f"seed {seed}"

    def _play(self, seed: int) -> World:
        before = random.getstate()
        random.seed(seed)  # The jitter of the code under test.
        world = World(seed, stores=2 if seed % 4 == 3 and not self._is_carried else 1)
        world.server = Server(world) if self._is_carried else None
        world.observer = Observer(world)
        self.code.name_locks_by(world.new_id)
        try:
            Schedule(world, self.code, LONG if seed % _ONE_IN == 0 else SHORT).play()
        except Violation as violation:
            raise Violation(f"{self._name_of(seed)}: {violation}\n{_timeline(world)}") from None
        finally:
            world.end()
            random.setstate(before)
        return world


def _timeline(world: World) -> str:
    return "\n".join(f"{time:9.3f}  {who:<16} {what}" for time, who, what in world.timeline)


class Schedule:
    """Decides, by the world's dice, what happens; then waits for the world to come to rest."""

    def __init__(self, world: World, code: Code, size: Size) -> None:
        self.world = world
        self.observer: Observer = world.observer
        self.code = code
        self.size = size
        self.dice: random.Random = world.random
        rates = (1.0, 1.0) if self.dice.random() < 0.3 else (0.8, 1.25)
        self.machines = [
            Machine(world, f"m{index}", self.dice.uniform(*rates)) for index in range(self.dice.randint(*size.runs))
        ]
        self.is_calm = self.dice.random() < 0.15
        self._left_to_start = self._restarts = self._thaws = 0

    def play(self) -> None:
        horizon = self.size.horizon
        if self.is_calm:
            self.observer.is_calm = True
        else:
            self._make_weather()
            self._make_past()
            for _ in range(self.dice.randint(0, self.size.faults)):
                self.world.at(self.dice.uniform(0.5, horizon), self.dice.choice(self._faults()))
        for index, machine in enumerate(self.machines):
            self._plan_run(machine, f"run{index}", self.dice.uniform(0, horizon / 8))
        for index in range(self.dice.randint(0, self.size.latecomers)):
            self._plan_run(self.dice.choice(self.machines), f"late{index}", self.dice.uniform(0, horizon))
        for _ in range(self.dice.choice((0, 0, 0, 1, 2))):
            self.world.at(self.dice.uniform(0, horizon), self._barge)
        self.world.run(horizon)
        self._heal()
        self.world.run(horizon + _REST, self._is_at_rest)
        self.observer.check_end()
        self.world.judge()

    # --- who ----------------------------------------------------------------------------------------------------

    def _plan_run(self, machine: Machine, name: str, at: float) -> None:
        patience = 1e6 if self.dice.random() < 0.8 else self.dice.choice((0.0, 5.0, 30.0))
        takeover = self.dice.choice(("always",) * 8 + ("plan-only", "never"))
        wanted = request(
            name,
            lease=self.dice.choice(LEASES),
            timeout=patience,
            stores=len(self.world.stores),
            takeover="always" if self.is_calm else takeover,
            freeze_timeout=self.dice.choice((1800.0, 1800.0, 20.0, 5.0)),
        )
        self._left_to_start += 1
        self.world.at(at, self._start, machine, name, wanted)

    def _start(self, machine: Machine, name: str, wanted: messages.Acquire) -> None:
        if machine.is_asleep:
            self.world.after(1.0, self._start, machine, name, wanted)
            return
        self._left_to_start -= 1
        work = self.dice.choice(self.size.work)
        self.observer.runs[name] = Run(machine, self.code, name, request=wanted, work=work, dice=self.dice)

    def _barge(self) -> None:
        info = LockInfo(id=self.world.new_id(), who="plain")
        record = LockRecord(text=info.encode(), info=info)
        self.observer.plains.append(Plain(self.world, f"plain-{info.id}", record, self.dice.uniform(0.5, 10)))

    def _make_past(self) -> None:
        """Sometimes there is a line of the dead, and a lock whose holder is long gone."""
        if self.dice.random() < 0.2:
            state = queue_record.QueueState(token=5)
            for number in range(self.dice.randint(1, 5)):
                state = state.joined(queue_record.Ticket(id=f"dead-{number}", holder=Holder(who="dead")))
            self.world.stores[-1].write_queue(None, QueueRecord(text=queue_record.encode(state), revision=1))
        if self.dice.random() < 0.2:
            info = LockInfo(id=self.world.new_id(), who="dead")
            lease = Lease(
                beat=3, duration_ms=round(1000 * self.dice.choice(LEASES)), holder=Holder(who="dead"), token=7
            )
            for store in self.world.stores:
                store.create(LockRecord(text=info.encode(), info=info, lease=lease))

    # --- what breaks --------------------------------------------------------------------------------------------

    def _make_weather(self) -> None:
        weather = self.world.weather
        if self.dice.random() < 0.5:
            weather.lost, weather.unheard, weather.late, weather.twice = (
                self.dice.choice((0.0, 0.05, 0.2)) for _ in range(4)
            )
            weather.lateness = self.dice.choice((1.0, 4.0, 20.0))
            if self.world.server:
                weather.twice = 0.0  # A connection repeats nothing.
        if self.dice.random() < 0.1:
            weather.queue = self.dice.choice((DENIED, THROTTLED))
        if not weather.is_fair:
            self.world.fair_since = float("inf")

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._cut, self._cut, self._pause, self._pause, self._pause, self._stop_keeper_for_good,
            self._stop_at_start, self._stall, self._thaw, self._suspend, self._halt, self._kill_keeper,
            self._kill_keeper, self._kill_front, self._kill_sentinel, self._kill_guards, self._kill_machine,
            self._unlock, self._jump, self._stop, *([self._sever] * 8 if self.world.server else []),
        ]  # fmt: skip

    def _some_run(self) -> Run | None:
        alive = [run for run in self.observer.runs.values() if not run.is_over]
        holding = [run for run in alive if not run.is_waiting]
        return self.dice.choice(holding if holding and self.dice.random() < 0.8 else alive) if alive else None

    def _duration(self) -> float:
        return self.dice.choice((self.dice.uniform(0, 2), self.dice.uniform(0, 10), self.dice.uniform(5, 25)))

    def _cut(self) -> None:
        if run := self._some_run():
            if not run.machine.is_cut:
                run.machine.cut_since = self.world.time
            run.machine.cut_until = self.world.time + self._duration()
            if self.world.server:
                self.world.server.on_cut(run.machine)
            self.world.tell(run.machine.name, f"cut off until {run.machine.cut_until:.1f}")

    def _pause(self) -> None:
        """Stop one or two of front, keeper and sentinel; the third goes on."""
        if run := self._some_run():
            watchers = [each for each in run.watchers if each.is_awake]
            stopped = self.dice.sample(watchers, min(self.dice.choice((1, 1, 2)), len(watchers) - 1) if watchers else 0)
            for process in stopped:
                process.pause()
                self.world.after(self._duration(), self._resume, run, process)

    def _resume(self, run: Run, process: Process) -> None:
        run.well_since = self.world.time
        process.resume()

    def _stop_keeper_for_good(self) -> None:
        """Nobody ever lets it go on: it is for the front to find out, at whatever stage."""
        run = self._some_run()
        if run and run.front.process.is_awake and not run.front.is_over and run.keeper.process.is_awake:
            run.keeper.process.pause()

    def _stop_at_start(self) -> None:
        """The keeper is stopped after it has started its next program, before it has said so."""
        if run := self._some_run():
            run.stops_at_start = lambda run=run: self._stop_keeper(run)  # type: ignore[misc]

    def _stop_keeper(self, run: Run) -> None:
        keeper = run.keeper.process
        if keeper.is_awake and self._is_watched_without(run, keeper):
            keeper.pause()
            self.world.after(self._duration(), self._resume, run, keeper)

    def _stall(self) -> None:
        """What goes between front and keeper goes nowhere for a while, one way or both."""
        if run := self._some_run():
            run.well_since = self.world.time
            ways = self.dice.sample((run.keeper.to_front, run.keeper.from_front), self.dice.choice((1, 2)))
            for way in ways:
                way.stall(self._duration())
            self.world.tell(run.name, f"{len(ways)} ways between front and keeper are stalled")

    def _thaw(self) -> None:
        """A stranger's SIGCONT. Its keeper, if it is awake, is told by the kernel; the others look at their ticks."""
        frozen = [run for run in self.observer.runs.values() if run.child is not None and run.child.is_frozen]
        if not frozen:
            self._thaws += 1
            if self._thaws < _THAW_TRIES:
                self.world.after(2.0, self._thaw)
            return
        run = self.dice.choice(frozen)
        assert run.child is not None
        is_told = run.keeper.process.is_awake and not run.keeper.is_child_adopted
        unseen_seconds = 0.01 if is_told else run.machine.real(1.01 * TICK_SECONDS)
        self.observer.let_go_on(run.child, run.child.thaw, unseen_seconds)
        if is_told:
            run.keeper.look_now()
        run.stir()

    def _is_watched_without(self, run: Run, *gone: Process) -> bool:
        """Whether somebody is awake who enforces its deadlines, these aside."""
        return any(each.is_awake for each in run.watchers if each not in gone)

    def _suspend(self) -> None:
        """A whole machine sleeps, and its clock counts it."""
        if run := self._some_run():
            self._put_to_sleep(run.machine, is_counted=self.code.wrong != "clock stops")

    def _halt(self) -> None:
        """A hypervisor pauses a whole machine, which shows on no clock inside it: what it may cost is checked."""
        if run := self._some_run():
            self._put_to_sleep(run.machine, is_counted=False)

    def _put_to_sleep(self, machine: Machine, *, is_counted: bool) -> None:
        runs = [run for run in self.observer.runs.values() if run.machine is machine and not run.is_over]
        processes = [process for run in runs for process in run.watchers]
        children = [run.child for run in runs if run.child is not None and not run.child.is_gone]
        if machine.is_asleep or any(process.is_paused for process in processes):
            return
        machine.is_asleep = True
        for process in processes:
            process.pause()
        for child in children:
            child.fall_asleep()
        self.world.after(self._duration(), self._wake_up, machine, runs, is_counted, self.world.time)

    def _wake_up(self, machine: Machine, runs: list[Run], is_counted: bool, since: float) -> None:
        machine.is_asleep = False
        if not is_counted:
            machine.miss(self.world.time - since)
            self.world.tell(machine.name, "has not noticed that it stood still")
        for run in runs:
            run.well_since = self.world.time
            if not is_counted and self.code.wrong != "clock stops":
                for lock_id in run.ids:
                    self.observer.excuse(run, lock_id)
        # Whoever gets a processor first is first: for a moment a child may go on that must not.
        for run in runs:
            if run.child is not None and not run.child.is_gone:
                is_late = run.machine.boottime() >= run.page.safe_until
                self.observer.let_go_on(run.child, run.child.wake_up, WAKE_SECONDS if is_late else 0.0)
            for process in run.watchers:
                self.world.after(WAKE_SECONDS * self.dice.random(), process.resume)

    def _kill_keeper(self) -> None:
        run = self._some_run()
        if run and run.keeper.is_alive and self._is_watched_without(run, run.keeper.process):
            run.keeper.kill()

    def _kill_front(self) -> None:
        run = self._some_run()
        if run and run.keeper.process.is_awake and run.front.process.is_alive and not run.front.is_over:
            run.front.kill()

    def _kill_sentinel(self) -> None:
        run = self._some_run()
        if run and run.keeper.sentinel and self._is_watched_without(run, run.keeper.sentinel.process):
            run.keeper.kill_sentinel()

    def _kill_guards(self) -> None:
        """Front and keeper at once; Terraform and the sentinel stay."""
        run = self._some_run()
        if run and run.is_awake and self._is_watched_without(run, *run.processes):
            run.front.process.kill()
            run.keeper.kill()

    def _kill_machine(self) -> None:
        """All of it at once; sometimes the job is started anew."""
        if run := self._some_run():
            run.kill_machine()
            if self.dice.random() < 0.5:
                self._restarts += 1
                self._plan_run(run.machine, f"again{self._restarts}", self.world.time + self.dice.uniform(0, 5))

    def _jump(self) -> None:
        self.dice.choice(self.machines).jump(self.dice.choice((-3600.0, 3600.0)))

    def _stop(self) -> None:
        """Somebody asks a run to stop: a runner, or Ctrl-C, which reaches the child as well."""
        if run := self._some_run():
            is_delivered = self.dice.random() < 0.3
            grace = 0.0 if is_delivered else self.dice.choice((0.0, 0.5))
            message = messages.Interrupt(reason="SIGTERM", is_delivered=is_delivered, grace_seconds=grace)
            run.front.process.do(run.front.stop, message)

    def _unlock(self) -> None:
        """A person removes whatever lock there is."""
        if self.world.server:
            self._unlock_carried()
            return
        for index, store in enumerate(self.world.stores):
            record = self.world.record(index)
            if record is not None:
                store.delete(record)
                self.world.tell("a person", f"force-unlocks {record.id}")
                self.observer.on_unlocked(record)

    def _unlock_carried(self) -> None:
        record = self.world.server.unlock()
        if record is not None:
            self.world.tell("a person", f"ends {record.id}")
            self.observer.on_unlocked(record)

    def _sever(self) -> None:
        """What carries a lock ends: the server is started anew, say, or a gateway forgets it. The next one may, too."""
        for session in self.world.server.carriers():
            if self.dice.random() < 0.2:
                self.world.server.deafen(session)
            else:
                self.world.server.sever(session, is_silent=self.dice.random() < 0.3)
        for act in (self._sever, self._kill_keeper, self._barge):
            if self.dice.random() < 0.3:
                self.world.after(self.dice.uniform(0, 2), act)

    # --- the end ------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        self.world.weather = Weather()
        self.world.fair_since = self.world.time
        self.world.tell("world", "healed")
        for machine in self.machines:
            machine.cut_until = min(machine.cut_until, self.world.time)

    def _is_at_rest(self) -> bool:
        return (
            not self._left_to_start
            and all(run.is_over for run in self.observer.runs.values())
            and all(plain.child and plain.child.is_gone for plain in self.observer.plains)
        )
