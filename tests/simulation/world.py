"""
A world of simulated time: machines with wrong clocks, a network that loses, delays and repeats, and the stores.

Everything that happens is an event at an instant of real time; a seed decides all of it, so a seed replays exactly.
What happens is written into `timeline`, and every invariant that breaks raises `Violation`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.simulation.coroutines import Request
from tfguard.errors import Conflict, StoreUnavailable
from tfguard.store import LockRecord
from tfguard.stores.memory import MemoryStore

#: How long one request may take before the client gives up on it, in seconds of its own clock.
TIMEOUT = 3.0
_START = datetime(2026, 11, 20, tzinfo=timezone.utc)


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True)
class Sleep:
    """Yielded by a task: rest so long, in seconds of the machine's own clock, or until woken."""

    seconds: float


@dataclass
class Weather:
    """How bad the network is: the share of requests with each fate, and how late late is, in seconds."""

    lost: float = 0.0
    unheard: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    lateness: float = 30.0


class World:
    """Real time, and all that is to happen."""

    def __init__(self, seed: int, stores: int) -> None:
        self.random = random.Random(seed)
        self.time = 0.0
        self.weather = Weather()
        self.stores = [MemoryStore() for _ in range(stores)]
        self.timeline: list[tuple[float, str, str]] = []
        self.observer: Any = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._ids = 0

    def at(self, time: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(time, self.time), self._count, act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.time + seconds, act)

    def run(self, until: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to `until`, or until it is over."""
        while self._events and self._events[0][0] <= until and not is_over():
            self.time, _, act = heapq.heappop(self._events)
            act()
        if not is_over():
            self.time = max(self.time, until)

    def new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def tell(self, who: str, what: str) -> None:
        self.timeline.append((self.time, who, what))

    def fail(self, what: str) -> None:
        self.tell("!!!", what)
        raise Violation(what)

    def record(self, index: int) -> LockRecord | None:
        return self.stores[index].read()


class Machine:
    """A clock of its own, right or wrong, and a way to the stores that may be cut."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self._offset = world.random.uniform(0, 1e6)
        self._wall = world.random.uniform(-1e6, 1e6)
        self.cut_until = 0.0

    def boottime(self) -> float:
        return self._offset + self.rate * self.world.time

    def now(self) -> datetime:
        return _START + timedelta(seconds=self._wall + self.world.time)

    def jump(self, seconds: float) -> None:
        self._wall += seconds

    def sleep(self, seconds: float) -> None:
        """Stand still for so long, as a clock does that does not count suspension."""
        self._offset -= self.rate * seconds

    def real(self, seconds: float) -> float:
        """Seconds of real time in which this machine's clock goes on by `seconds`."""
        return seconds / self.rate


class Process:
    """What is paused and killed as one: some tasks, some guards. A paused process does nothing, late, in order."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.world = machine.world
        self.name = name
        self.is_alive = True
        self.is_paused = False
        self.on_resume: list[Callable[[], None]] = []
        self._backlog: list[Callable[[], None]] = []

    def do(self, act: Callable[[], None]) -> None:
        """Do it now, or when we are no longer paused, or never."""
        if not self.is_alive:
            return
        if self.is_paused:
            self._backlog.append(act)
        else:
            act()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it in so many seconds of our own clock."""
        self.world.after(self.machine.real(seconds), lambda: self.do(act))

    def pause(self) -> None:
        if self.is_alive:
            self.is_paused = True
            self.world.tell(self.name, "paused")

    def resume(self) -> None:
        """Go on. Whoever enforces deadlines looks at the clock before anything else happens."""
        if not self.is_alive or not self.is_paused:
            return
        self.is_paused = False
        self.world.tell(self.name, "resumed")
        backlog, self._backlog = self._backlog, []
        for act in [*self.on_resume, *backlog]:
            self.do(act)

    def kill(self) -> None:
        if self.is_alive:
            self.is_alive = False
            self.world.tell(self.name, "killed")


class Task:
    """One coroutine of a process. It yields Sleep and Request, and is woken early by `wake`."""

    def __init__(self, process: Process, body: Generator[Any, Any, None]) -> None:
        self._process = process
        self._body = body
        self._turn = 0
        self._is_asleep = False
        self._is_woken = False
        process.world.after(0.0, lambda: process.do(lambda: self._resume(0, None)))

    def wake(self) -> None:
        """End the sleep that is on, or the next one."""
        self._is_woken = True
        if self._is_asleep:
            self._go_on(self._turn)

    def _go_on(self, turn: int, value: Any = None) -> None:
        self._process.do(lambda: self._resume(turn, value))

    def _resume(self, turn: int, value: Any) -> None:
        if turn != self._turn:
            return
        self._turn += 1
        self._is_asleep = False
        try:
            wanted = self._body.throw(value) if isinstance(value, Exception) else self._body.send(value)
        except StopIteration:
            self._turn += 1
            return
        self._serve(wanted, self._turn)

    def _serve(self, wanted: Sleep | Request, turn: int) -> None:
        if isinstance(wanted, Request):
            wanted.store.send(wanted, lambda answer: self._go_on(turn, answer))
            return
        self._is_asleep = True
        seconds = 0.0 if self._is_woken else wanted.seconds
        self._is_woken = False
        self._process.after(seconds, lambda: self._resume(turn, None))


class Wire:
    """One process's way to one store: a Store whose requests take time and have fates."""

    has_leases = True

    def __init__(self, process: Process, index: int) -> None:
        self.index = index
        self.process = process
        self._world = process.world

    @property
    def place(self) -> str:
        return f"store {self.index}"

    def send(self, request: Request, reply: Callable[[Any], None]) -> None:
        """Send one request; `reply` gets the answer or an exception, once."""
        world, weather = self._world, self._world.weather
        there, back = world.random.expovariate(20), world.random.expovariate(20)
        fate = world.random.random()
        is_heard = True
        if self.process.machine.cut_until > world.time:
            fate, is_heard = 0.0 if world.random.random() < 0.8 else 1.0, False
        is_lost = fate < weather.lost or (not is_heard and fate == 0.0)
        if weather.lost <= fate < weather.lost + weather.unheard:
            is_heard = False
        elif weather.lost + weather.unheard <= fate < weather.lost + weather.unheard + weather.late:
            there += world.random.uniform(0, weather.lateness)
        answer: list[Any] = []
        if not is_lost:
            is_late = there > self.process.machine.real(TIMEOUT)
            world.after(there, lambda: answer.append(self._land(request, is_late=is_late)))
        if world.random.random() < weather.twice:
            world.after(there + world.random.uniform(0, weather.lateness), lambda: self._land(request, is_late=True))
        timeout = self.process.machine.real(TIMEOUT)
        if is_lost or not is_heard or there + back > timeout:
            world.after(timeout, lambda: reply(StoreUnavailable("no answer")))
        else:
            world.after(there + back, lambda: self._answer(request, answer[0], reply))

    def _answer(self, request: Request, answer: Any, reply: Callable[[Any], None]) -> None:
        if request.operation == "read":
            self.process.do(lambda: self._world.observer.on_read(self, answer))
        reply(answer)

    def _land(self, request: Request, *, is_late: bool) -> Any:
        world = self._world
        before = world.record(self.index)
        try:
            answer = getattr(world.stores[self.index], request.operation)(*request.arguments)
        except Conflict as conflict:
            return conflict
        if request.operation in {"create", "replace", "delete"}:
            suffix = " (late)" if is_late else ""
            world.tell(
                self.process.name,
                f"{request.operation} landed: {_name(before)} → {_name(world.record(self.index))}{suffix}",
            )
            world.observer.on_written(self, before, world.record(self.index), is_late=is_late)
        return answer


def _name(record: LockRecord | None) -> str:
    return f"{record.id}#{record.beat}" if record else "free"
