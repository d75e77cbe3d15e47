"""
A world of simulated time: machines with wrong clocks, a network that loses, delays and repeats, and the stores.

Everything that happens is an event at an instant of real time; a seed decides all of it, so a seed replays exactly.
What happens is written into `timeline`, and every invariant that breaks raises `Violation`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from greenlet import getcurrent

from tests.simulation.threads import Event, Thread, current
from tests.support.memory import MemoryStore
from tfguard.errors import Conflict, StoreDenied, StoreUnavailable
from tfguard.lock.store import BaseStore, LockRecord, QueueRecord
from tfguard.process.channel import NEWS

#: How long one request may take before the client gives up on it, in seconds of its own clock.
TIMEOUT = 1.0
#: After so many events one looks whether all is at rest.
_REST_LOOK = 8
_START = datetime(2026, 11, 20, tzinfo=timezone.utc)
DENIED = StoreDenied("denied", action="dynamodb:PutItem", resource="queue record")
THROTTLED = StoreUnavailable("slow down", is_throttled=True)


class Violation(AssertionError):
    """A promise was broken."""


@dataclass
class Weather:
    """
    How bad the network is: the share of requests with each fate, and how late late is, in seconds.

    `queue`: what the store says to whoever touches the queue record.
    """

    lost: float = 0.0
    unheard: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    lateness: float = 10.0
    queue: StoreDenied | StoreUnavailable | None = None

    @property
    def is_fair(self) -> bool:
        return not (self.lost or self.unheard or self.late or self.twice or self.queue)


class World:
    """Real time, and all that is to happen."""

    def __init__(self, seed: int, stores: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.time = 0.0
        self.weather = Weather()
        self.stores = [MemoryStore() for _ in range(stores)]
        self.timeline: list[tuple[float, str, str]] = []
        self.observer: Any = None
        self.server: Any = None  # Where the lock is a connection's.
        self.is_over = False
        self.fair_since = 0.0
        self.events = 0
        self.processes: list[Process] = []
        self._violation = ""
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ids = 0

    def at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        self.events += 1
        heapq.heappush(self._events, (max(self.time, time), self.events, act, arguments))

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self.at(self.time + seconds, act, *arguments)

    def run(self, until: float, is_at_rest: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to `until`, or until all is at rest, which is looked at now and then."""
        events = self._events
        while events and events[0][0] <= until:
            self.time, number, act, arguments = heapq.heappop(events)
            act(*arguments)
            if self._violation:
                self.judge()
            if not number % _REST_LOOK and is_at_rest():
                return

    def judge(self) -> None:
        """Raise Violation if a promise has been broken."""
        if self._violation:
            raise Violation(self._violation)

    def end(self) -> None:
        """Nothing happens any more, not even in a `finally`."""
        self.is_over = True
        for process in self.processes:
            for thread in process.threads:
                thread.end()

    def new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def tell(self, who: str, what: str) -> None:
        self.timeline.append((self.time, who, what))

    def fail(self, what: str) -> None:
        """A promise is broken. Whatever thread has found out goes no further, and cannot catch it."""
        if not self._violation:
            self._violation = what
            self.tell("!!!", what)
        if isinstance(thread := getcurrent(), Thread):
            thread.block()

    def record(self, index: int) -> LockRecord | None:
        if self.server is not None:
            return self.server.record()  # type: ignore[no-any-return]
        return self.stores[index].table.records.get("lock")

    def queue_record(self) -> QueueRecord | None:
        return self.stores[-1].read_queue()


class Machine:
    """A clock of its own, right or wrong, that its threads wait by; and a way to the stores that may be cut."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self.cut_since = self.cut_until = 0.0
        self.is_asleep = False
        self._offset = world.random.uniform(0, 1e6)
        self._wall = world.random.uniform(-1e6, 1e6)

    @property
    def is_cut(self) -> bool:
        return self.cut_until > self.world.time

    def boottime(self) -> float:
        return self._offset + self.rate * self.world.time

    def now(self) -> datetime:
        return _START + timedelta(seconds=self._wall + self.world.time)

    def sleep(self, seconds: float) -> None:
        current().rest(seconds)

    def event(self) -> Event:
        return Event()

    def jump(self, seconds: float) -> None:
        self._wall += seconds

    def miss(self, seconds: float) -> None:
        """Not notice so much of real time, as a clock does that does not count suspension."""
        self._offset -= self.rate * seconds

    def real(self, seconds: float) -> float:
        """Seconds of real time in which this machine's clock goes on by `seconds`."""
        return seconds / self.rate


class Process:
    """What is paused and killed as one, threads and all. A paused process does nothing, late, in order."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.world = machine.world
        self.name = name
        self.is_alive = True
        self.is_paused = False
        self.threads: list[Thread] = []
        self.on_resume: list[Callable[[], None]] = []
        self.on_pause: list[Callable[[], None]] = []
        self.awake_since = self.world.time
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.world.processes.append(self)

    @property
    def is_awake(self) -> bool:
        return self.is_alive and not self.is_paused

    def do(self, act: Callable[..., None], *arguments: Any) -> None:
        """Do it now, or when we are no longer paused, or never."""
        if not self.is_alive:
            return
        if self.is_paused:
            self._backlog.append((act, arguments))
        else:
            act(*arguments)

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        """Do it in so many seconds of our own clock."""
        world = self.world
        world.at(world.time + seconds / self.machine.rate, self.do, act, *arguments)

    def pause(self) -> None:
        if self.is_alive:
            self.is_paused = True
            self.world.tell(self.name, "paused")
            for hear in self.on_pause:
                hear()

    def resume(self) -> None:
        """Go on. Whoever enforces deadlines looks at the clock before anything else happens."""
        if not self.is_alive or not self.is_paused:
            return
        self.is_paused = False
        self.awake_since = self.world.time
        self.world.tell(self.name, "resumed")
        backlog, self._backlog = self._backlog, []
        for look in list(self.on_resume):
            self.do(look)
        for act, arguments in backlog:
            self.do(act, *arguments)

    def kill(self) -> None:
        if self.is_alive:
            self.is_alive = False
            self.world.tell(self.name, "killed")


class Socket:
    """
    One direction between two processes: messages arrive in order, a moment later, whatever became of the sender.

    A stalled one has room for nothing: what is sent waits, and of what is mere news (`channel`) only the latest.
    """

    def __init__(self, receiver: Process, receive: Callable[[Any], None]) -> None:
        self._receiver = receiver
        self._receive = receive
        self._arriving: deque[Any] = deque()
        self._unsent: list[Any] = []
        self._stalls = 0
        self._last_at = 0.0

    def stall(self, seconds: float) -> None:
        self._stalls += 1
        self._receiver.world.after(seconds, self._flow)

    def _flow(self) -> None:
        self._stalls -= 1
        if not self._stalls:
            unsent, self._unsent = self._unsent, []
            for message in unsent:
                self.send(message)

    def send(self, message: Any) -> None:
        if self._stalls:
            if isinstance(message, NEWS):
                self._unsent = [each for each in self._unsent if type(each) is not type(message)]
            self._unsent.append(message)
            return
        world = self._receiver.world
        self._last_at = max(self._last_at, world.time + 0.01 * world.random.random())
        self._arriving.append(message)
        world.at(self._last_at, self._receiver.do, self._arrive)

    def _arrive(self) -> None:
        self._receive(self._arriving.popleft())


class Wire(BaseStore):
    """One process's way to one store: a Store whose requests take time and have fates."""

    has_leases = True

    def __init__(self, process: Process, index: int) -> None:
        self.index = index
        self.process = process
        self.place = f"store {index}"
        self._world = process.world
        self._is_release_in_doubt = False

    def read(self) -> LockRecord | None:
        # What a release reads after a delete that failed is no look of a waiter: none is timed from it.
        is_look, self._is_release_in_doubt = not self._is_release_in_doubt, False
        found: LockRecord | None = self._ask("read")
        if is_look:
            self._world.observer.on_read(self, found)
        return found

    def create(self, record: LockRecord) -> LockRecord:
        return self._ask("create", record)  # type: ignore[no-any-return]

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        return self._ask("replace", seen, record)  # type: ignore[no-any-return]

    def delete(self, seen: LockRecord) -> None:
        self._is_release_in_doubt = True
        self._ask("delete", seen)
        self._is_release_in_doubt = False

    def read_queue(self) -> QueueRecord | None:
        return self._ask("read_queue")  # type: ignore[no-any-return]

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        return self._ask("write_queue", seen, record)  # type: ignore[no-any-return]

    def close(self) -> None:
        pass

    def _ask(self, operation: str, *arguments: Any) -> Any:
        """Send one request, and stand still until its answer, or until the client gives up."""
        thread = current()
        self._send(operation, arguments, thread.resume_at_reply())
        answer = thread.block()
        if isinstance(answer, Exception):
            # One answer is given many times: with its traceback it would keep the world that heard it before.
            raise answer.with_traceback(None)
        return answer

    def _send(self, operation: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        world, weather, dice = self._world, self._world.weather, self._world.random
        there, back = 0.005 + 0.05 * dice.random(), 0.005 + 0.05 * dice.random()
        timeout = self.process.machine.real(TIMEOUT)
        is_cut = self.process.machine.is_cut
        fate = 1.0 if weather.is_fair and not is_cut else dice.random()
        is_lost = fate < (0.8 if is_cut else weather.lost)
        is_unheard = is_cut or weather.lost <= fate < weather.lost + weather.unheard
        if weather.lost + weather.unheard <= fate < weather.lost + weather.unheard + weather.late:
            there += dice.uniform(0, weather.lateness)
        if weather.twice and dice.random() < weather.twice:
            world.after(there + dice.uniform(0, weather.lateness), self._land, operation, arguments, True, None)
        if is_lost or is_unheard or there + back > timeout:
            if not is_lost:
                world.after(there, self._land, operation, arguments, there > timeout, None)
            world.observer.on_unanswered(self, world.time + timeout)
            world.after(timeout, reply, StoreUnavailable("no answer"))
        else:
            world.after(there, self._land, operation, arguments, False, lambda answer: world.after(back, reply, answer))

    def _land(
        self, operation: str, arguments: tuple[Any, ...], is_late: bool, reply: Callable[[Any], None] | None
    ) -> None:
        answer = self._answer(operation, arguments, is_late=is_late)
        if reply is not None:
            reply(answer)

    def _answer(self, operation: str, arguments: tuple[Any, ...], *, is_late: bool) -> Any:
        world = self._world
        store = world.stores[self.index]
        if operation == "read":
            return world.record(self.index)
        try:
            if operation in {"read_queue", "write_queue"}:
                if world.weather.queue is not None:
                    return world.weather.queue
                answer = getattr(store, operation)(*arguments)
                if operation == "write_queue":
                    world.observer.on_queue_written(self, answer)
                return answer
            before = world.record(self.index)
            answer = getattr(store, operation)(*arguments)
        except Conflict as conflict:
            return conflict
        after = world.record(self.index)
        late = " (late)" if is_late else ""
        world.tell(self.process.name, f"{operation} landed: {_name(before)} → {_name(after)}{late}")
        world.observer.on_written(self, before, after, is_late=is_late)
        return answer


def _name(record: LockRecord | None) -> str:
    return f"{record.id}#{record.beat}" if record else "free"
