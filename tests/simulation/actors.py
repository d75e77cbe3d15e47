"""
Who acts in the world: runs of tfguard (front, keeper and child), plain Terraforms, people.

The lock's decisions (`lease`) and the deadlines' (`watchdog`) are the real code. What the keeper does around them —
its loop, its messages to the front, adoption — is told here again in a few lines, in simulated time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.simulation.coroutines import Request
from tests.simulation.world import Machine, Process, Sleep, Task, Wire, World
from tfguard import queue
from tfguard.deadlines import RETRY_SECONDS, TICK_SECONDS, Deadlines
from tfguard.errors import Conflict, LeaseLost, TfguardError
from tfguard.lockinfo import LockInfo
from tfguard.store import Holder, QueueRecord

#: A waiter rests so long between two looks, in seconds of its own clock.
POLL = 1.0
Body = Generator[Any, Any, None]


@dataclass(frozen=True)
class Code:
    """The code under test: two modules, real or with a fault. `wrong` is a fault of the keeper that is played here."""

    lease: ModuleType
    watchdog: ModuleType
    wrong: str = ""


class Child:
    """A Terraform. It writes while it is neither frozen nor gone; after its SIGINT it needs a while to stop."""

    def __init__(self, world: World, name: str, work: float, stop: float, on_exit: Callable[[], None]) -> None:
        self.world = world
        self.name = name
        self.signals = 0
        self.is_gone = False
        self.is_frozen = False
        self.lock_ids: set[str] = set()
        self._left = work
        self._stop = stop
        self._on_exit = on_exit
        self._since = world.time
        self._turn = 0
        self._plan()

    @property
    def is_writing(self) -> bool:
        return not self.is_gone and not self.is_frozen

    def interrupt(self) -> None:
        if self.is_gone:
            return
        self.signals += 1
        self.world.tell(self.name, "SIGINT")
        self._account()
        self._left = min(self._left, self._stop)
        self._plan()

    def freeze(self) -> None:
        if self.is_writing:
            self._account()
            self.is_frozen = True
            self._turn += 1
            self.world.tell(self.name, "frozen")

    def thaw(self) -> None:
        if self.is_frozen and not self.is_gone:
            self.is_frozen = False
            self._since = self.world.time
            self.world.tell(self.name, "thawed")
            self._plan()
            self.world.observer.on_writing(self)

    def kill(self) -> None:
        self._end("SIGKILL")

    def _account(self) -> None:
        if self.is_writing:
            self._left = max(0.0, self._left - (self.world.time - self._since))
        self._since = self.world.time

    def _plan(self) -> None:
        self._turn += 1
        turn = self._turn
        if self.is_writing:
            self.world.after(self._left, lambda: self._end("exit") if turn == self._turn else None)

    def _end(self, how: str) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._turn += 1
            self.world.tell(self.name, how)
            self._on_exit()


class Guard:
    """A real watchdog and the process that acts on it, within one tick of each deadline."""

    def __init__(self, process: Process, watchdog: Any, run: Run, *, is_keeper: bool) -> None:
        self.watchdog = watchdog
        self._process = process
        self._run = run
        self._is_keeper = is_keeper
        process.on_resume.append(self.look)
        self.look()

    def look(self) -> None:
        """Look at the clock, act, and come back at the next deadline."""
        child = self._run.child
        now = self._process.machine.boottime()
        if child is None and not self._is_keeper:
            return
        if not self._is_keeper and self._run.code.wrong == "front sleeps":
            return
        for action in self.watchdog.decide(now):
            if child is None:
                continue
            if action.name == "INTERRUPT" and self._is_keeper:
                child.interrupt()
            elif action.name in {"FREEZE", "THAW", "KILL"}:
                getattr(child, action.name.lower())()
        if self.watchdog.deadlines is None:
            return
        deadlines, base = self.watchdog.deadlines, self.watchdog.base
        ahead = [base + each - now for each in (deadlines.warning, deadlines.interrupt, deadlines.freeze)]
        soonest = min((each for each in ahead if each > 0), default=None)
        if soonest is not None:
            tick = self._process.world.random.uniform(0, TICK_SECONDS)
            self._process.after(soonest + tick, self.look)

    def landed(self, base: float) -> None:
        self.watchdog.landed(base)
        self.look()

    def lose(self, kind: Any) -> None:
        self.watchdog.lose(kind)
        self.look()


class Run:
    """One run of tfguard: waits, holds, works, releases; its keeper is succeeded once if it dies."""

    def __init__(self, machine: Machine, code: Code, name: str, *, lease: float, work: float, stop: float) -> None:
        self.machine = machine
        self.world: World = machine.world
        self.name = name
        self.code = code
        self.lease = lease
        self.child: Child | None = None
        self.ids: set[str] = set()
        self.is_over = False
        self.has_held = False
        self.is_lost = False
        self.front = Process(machine, f"{name}/front")
        self._work, self._stop = work, stop
        self._journal: dict[str, Any] = {"stage": "idle"}
        self._front_guard: Guard | None = None
        self.was_succeeded = False
        self._is_released_asked = False
        self._start_keeper()

    # --- the processes ------------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        self.keeper = Process(self.machine, f"{self.name}/keeper{'2' if self.was_succeeded else ''}")
        self._guard: Guard | None = None
        self._lock: Any = None
        self._task = Task(self.keeper, self._worker(dict(self._journal)))

    def kill_keeper(self) -> None:
        """The kernel sends the child its SIGINT; the front starts a successor."""
        if not self.keeper.is_alive or self.is_over:
            return
        self.keeper.kill()
        if self.child:
            self.child.interrupt()
        if self.front.is_alive and not self.was_succeeded:
            self.world.after(self.world.random.uniform(0.1, 1.0), lambda: self.front.do(self._succeed))
        else:
            self._end("abandoned")

    def _succeed(self) -> None:
        self.was_succeeded = True
        if self._front_guard:
            self._front_guard.watchdog.is_interrupted = True
        if not self.is_over:
            self._start_keeper()

    def kill_front(self) -> None:
        if not self.front.is_alive or self.is_over:
            return
        self.front.kill()
        self.keeper.do(self._on_front_gone)
        if not self.keeper.is_alive:
            self._end("abandoned")

    def _on_front_gone(self) -> None:
        if self.child is None:
            self._ask_release()
        elif self._guard and self._guard.watchdog.interrupt_once():
            self.child.interrupt()

    def kill_machine(self) -> None:
        """All of it at once."""
        self.front.kill()
        self.keeper.kill()
        if self.child:
            self.child.kill()
        self._end("machine gone")

    def _end(self, how: str) -> None:
        if not self.is_over:
            self.is_over = True
            self.world.tell(self.name, how)

    def _to_front(self, act: Callable[[], None]) -> None:
        self.world.after(self.world.random.uniform(0, 0.01), lambda: self.front.do(act))

    # --- the keeper's worker ------------------------------------------------------------------------------------

    def _worker(self, journal: dict[str, Any]) -> Body:
        self._wires = [Wire(self.keeper, index) for index in range(len(self.world.stores))]
        if journal["stage"] in {"held", "releasing"}:
            yield from self._adopt(journal)
        else:
            lock = yield from self._wait(journal)
            if lock is not None:
                yield from self._hold(lock)

    def _wait(self, journal: dict[str, Any]) -> Generator[Any, Any, Any]:
        lease = self.code.lease
        draft = lease.Draft(
            info=LockInfo(id="", who=self.name),
            holder=Holder(who=self.name),
            duration_ms=round(self.lease * 1000),
            is_changing=True,
        )
        acquirer = lease.Acquirer(self._wires, draft, self.machine, on_trying=self._on_trying)
        if journal["stage"] == "trying":
            acquirer.recall(journal["id"], journal["base"])
        while True:
            try:
                lock = yield from acquirer.try_acquire()
            except lease.Busy as busy:
                self.world.observer.on_busy(self, busy.record)
                yield Sleep(POLL * self.world.random.uniform(0.9, 1.1))
            except TfguardError:
                yield Sleep(self.world.random.uniform(0.1, 3.0))
            else:
                if not self._is_released_asked:
                    return lock
                self._lock = lock
                yield from self._release()
                return None

    def _on_trying(self, lock_id: str, base: float) -> None:
        self.ids.add(lock_id)
        if base > self.machine.boottime():
            self.world.fail(f"{self.name} counts from the future")
        self._journal = {"stage": "trying", "id": lock_id, "base": base}

    def _hold(self, lock: Any) -> Body:
        self._lock = lock
        try:
            if self.machine.boottime() - lock.base > self.lease / 6:
                yield from lock.renew()
            token = yield from self._count(lock)
            if token:
                yield from lock.renew(token=token)
        except LeaseLost as lost:
            self.world.observer.on_lost(self, lost.kind)
            self._end(f"lost before it began: {lost.kind}")
            return
        except TfguardError:
            pass
        self._journal = {"stage": "held", "id": lock.id, "beat": lock.beat, "base": lock.base}
        self.world.observer.on_held(self, lock)
        self._on_held(lock)
        yield from self._beat(lock)

    def _count(self, lock: Any) -> Generator[Any, Any, int]:
        """Count this acquisition in the queue record; 0 where it cannot be had."""
        wire = self._wires[-1]
        dead = lock.dead.lease.token if lock.dead and lock.dead.lease else 0
        for _ in range(3):
            try:
                seen = yield Request(wire, "read_queue")
                state = (queue.decode(seen.text) if seen else queue.QueueState()).with_token(dead)
                revision = (seen.revision if seen else 0) + 1
                yield Request(wire, "write_queue", (seen, QueueRecord(text=queue.encode(state), revision=revision)))
            except Conflict:
                continue
            except TfguardError:
                return 0
            return state.token
        return 0

    def _on_held(self, lock: Any) -> None:
        deadlines, watchdog = Deadlines.of(self.lease), self.code.watchdog.Watchdog
        self.world.tell(self.name, f"holds {lock.id}")
        self._guard = Guard(self.keeper, watchdog(deadlines, lock.base), self, is_keeper=True)
        base = lock.base

        def tell_front() -> None:
            self._front_guard = Guard(self.front, watchdog(deadlines, base), self, is_keeper=False)
            self.world.after(self.world.random.uniform(0, 0.1), lambda: self.keeper.do(lambda: self._spawn(lock.id)))

        self._to_front(tell_front)
        if not self.front.is_alive:
            self._on_front_gone()

    def _spawn(self, lock_id: str) -> None:
        if self._is_released_asked or self.is_lost or self.child or not self._guard:
            return
        self.has_held = True
        self.child = Child(self.world, f"{self.name}/child", self._work, self._stop, self._on_exit)
        self.child.lock_ids.add(lock_id)
        self.world.tell(self.name, "the child starts")
        if self.code.wrong == "releases early":
            self.world.after(self._work / 2, self._on_exit)
        self._guard.watchdog.start_child()
        self._guard.look()
        self._to_front(lambda: self._front_guard and self._front_guard.look())  # type: ignore[func-returns-value]
        if self.child.is_writing:
            self.world.observer.on_writing(self.child)

    def _on_exit(self) -> None:
        self.keeper.do(self._ask_release)

    def _ask_release(self) -> None:
        self._is_released_asked = True
        self._task.wake()

    def _beat(self, lock: Any) -> Body:
        pause = Deadlines.of(self.lease).heartbeat
        while True:
            yield Sleep(pause * self.world.random.uniform(0.9, 1.1))
            if self._is_released_asked:
                break
            pause = Deadlines.of(self.lease).heartbeat if (yield from self._renew(lock)) else RETRY_SECONDS
            if self.is_lost:
                return
        yield from self._release()

    def _renew(self, lock: Any) -> Generator[Any, Any, bool]:
        try:
            landed: bool = yield from lock.renew()
        except LeaseLost as lost:
            self._lose(lost.kind)
            return False
        except TfguardError:
            return False
        if landed:
            self.world.observer.on_beaten(self, lock)
            self._journal.update(beat=lock.beat, base=lock.base)
            base = lock.base
            if self._guard:
                self._guard.landed(base)
            self._to_front(lambda: self._front_guard and self._front_guard.landed(base))  # type: ignore[func-returns-value]
        return landed

    def _lose(self, kind: Any) -> None:
        self.is_lost = True
        self.world.tell(self.name, f"lost: {kind}")
        self.world.observer.on_lost(self, kind)
        if self._guard:
            self._guard.lose(kind)
        self._to_front(lambda: self._front_guard and self._front_guard.lose(kind))  # type: ignore[func-returns-value]
        if self.child is None or self.child.is_gone:
            self._end("over, lost")
            return
        self._after_exit()

    def _after_exit(self) -> None:
        def look() -> None:
            if self.child is None or self.child.is_gone:
                self._end("over, lost")
            else:
                self.world.after(1.0, look)

        look()

    def _release(self) -> Body:
        self._journal["stage"] = "releasing"
        lock = self._lock
        until = lock.base + self.lease
        result = "failed"
        while self.machine.boottime() < until:
            try:
                result = yield from lock.release()
            except TfguardError:
                yield Sleep(self.world.random.uniform(0.2, 1.0))
            else:
                break
        self._end(f"over, {result}")

    # --- the successor ------------------------------------------------------------------------------------------

    def _adopt(self, journal: dict[str, Any]) -> Body:
        leases = []
        is_held = journal["stage"] == "held"
        if is_held:
            watchdog = self.code.watchdog.Watchdog(Deadlines.of(self.lease), journal["base"])
            watchdog.is_interrupted = True
            self._guard = Guard(self.keeper, watchdog, self, is_keeper=True)
        for wire in self._wires:
            record = yield from self._read(wire)
            if record is None or record.id != journal["id"]:
                if is_held:
                    self._lose("another's" if record else "gone")
                    return
                continue
            base = self.machine.boottime() if self.code.wrong == "adopts from now" else journal["base"]
            lease = self.code.lease.HeldLease(wire, record, base, self.machine)
            lease.skip_beats(journal["beat"] + 2)
            leases.append(lease)
        if not leases:
            self._end("over, nothing left to release")
            return
        self._lock = self.code.lease.HeldLock(leases)
        self.world.observer.on_beaten(self, self._lock)
        if self.child is None or self.child.is_gone:
            self._is_released_asked = True
        if is_held and not self._is_released_asked:
            yield from self._renew(self._lock)
            if not self.is_lost:
                yield from self._beat(self._lock)
        else:
            yield from self._release()

    def _read(self, wire: Wire) -> Generator[Any, Any, Any]:
        while True:
            try:
                return (yield Request(wire, "read"))
            except TfguardError:
                yield Sleep(RETRY_SECONDS)


class Plain:
    """A plain Terraform with `-lock-timeout`: takes the lock if it is free, works, unlocks what is its own."""

    def __init__(self, world: World, name: str, record: Any, work: float) -> None:
        self.world = world
        self.name = name
        self.record = record
        self.child: Child | None = None
        self._work = work
        self._try()

    def _try(self) -> None:
        try:
            for store in self.world.stores:
                store.create(self.record)
        except Conflict:
            self._give_back()
            self.world.after(self.world.random.uniform(1, 4), self._try)
            return
        self.world.tell(self.name, f"holds {self.record.id}")
        self.child = Child(self.world, self.name, self._work, 1.0, self._give_back)
        self.child.lock_ids.add(self.record.id)
        self.world.observer.on_writing(self.child)

    def _give_back(self) -> None:
        for store in self.world.stores:
            found = store.read()
            if found is not None and found.id == self.record.id:
                store.delete(found)
                self.world.tell(self.name, "unlocked")
