"""
Who acts in the world: runs of tfguard (front, keeper and child), plain Terraforms, people.

Real: everything that decides. The waiter with its place in line, the lease, the heartbeats and the release (`session`)
run in a simulated thread; the keeper's decisions (`keeper_rules`), the deadlines (`watchdog`), the front's own watch
(`front_rules`) and its journal are called as the processes call them.

Modelled, in a few lines each: what needs a kernel. Terraform itself; the keeper's hands and its select loop; the page
and the sentinels (`sentinels`); and of the front, that it spawns, relays a stop, releases, and starts a successor.
"""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.code import Code
from tests.simulation.postgres import PgWire
from tests.simulation.sentinels import Page, Sentinel
from tests.simulation.threads import Thread
from tests.simulation.world import Machine, Process, Socket, Wire, World
from tests.support.fakes import QuietSurroundings
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.backends.target import Target
from tfguard.errors import Conflict
from tfguard.guard import messages
from tfguard.guard.hands import KeeperHands
from tfguard.lock import protocol
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.lock.store import Holder
from tfguard.process.front import CANCEL_SECONDS
from tfguard.process.keeper_link import MAX_RESTARTS
from tfguard.process.rescue import PAUSES_SECONDS

#: What arrives when the other end of a socket is no more.
EOF = "end of file"
#: The shim's start, until it enters itself; then the exec, and what a Terraform does before it can write anything.
_ENTRY_SECONDS, _START_SECONDS = 0.03, 0.05
#: How long a new sentinel takes at most until it looks, and how long a front leaves a dead keeper's to its one SIGINT.
_SENTINEL_START_SECONDS, _SENTINEL_SECONDS = 0.2, 0.3
#: How often a front looks at a keeper that does nothing, in seconds.
_CLOSE_LOOK_SECONDS = 1.0
_INTERRUPTED = -2
_KILLED = -9
#: Who has outlived a program, as a keeper is told.
LEFT = (messages.Relative(name="daemon", pid=1),)


class Child:
    """
    A Terraform. It writes while it is neither stopped nor gone; after its SIGINT it needs a while to stop.

    `lock_id` is the lock that it runs under, `signals` counts the SIGINTs that we have sent it. `family` is for how
    long others that descend from it write on after it has ended.
    """

    def __init__(
        self,
        world: World,
        name: str,
        lock_id: str,
        *,
        work: float,
        stop: float,
        on_exit: Callable[[Child, int], None],
        family: float = 0.0,
        on_outlived: Callable[[Child], None] = lambda _: None,
    ) -> None:
        self.world = world
        self.name = name
        self.lock_id = lock_id
        self.signals = 0
        self.excused_until = float("-inf")
        self.frozen_since = float("inf")
        self.is_gone = False
        self.is_frozen = False
        self.is_asleep = False
        self.is_outlived = False
        self._family = family
        self._on_outlived = on_outlived
        self._status = 0
        self._left = work
        self._stop = stop
        self._on_exit = on_exit
        self._since = world.time
        self._turn = 0
        self._is_starting = True
        world.tell(name, f"starts under {lock_id}")
        world.after(_START_SECONDS, self._begin)

    @property
    def is_writing(self) -> bool:
        return not (self.is_gone or self.is_frozen or self.is_asleep or self._is_starting)

    def _begin(self) -> None:
        self._is_starting = False
        self._go_on()

    def interrupt(self, *, is_ours: bool = True) -> None:
        if self.is_gone:
            return
        self.signals += is_ours
        self.world.tell(self.name, "SIGINT" if is_ours else "Ctrl-C")
        if is_ours:
            self.world.observer.on_stopped(self)
        self._account()
        self._left = min(self._left, self._stop)
        self._status = self._status if self.is_outlived else 1
        self._plan()

    def freeze(self) -> None:
        if not self.is_frozen:
            self.frozen_since = self.world.time
        self._set("is_frozen", True, "frozen")
        self.world.observer.on_stopped(self)

    def thaw(self) -> None:
        self._set("is_frozen", False, "thawed")

    def fall_asleep(self) -> None:
        self._set("is_asleep", True, "asleep")

    def wake_up(self) -> None:
        self._set("is_asleep", False, "awake")

    def kill(self) -> None:
        self._end("SIGKILL", _KILLED)

    def _set(self, name: str, value: bool, what: str) -> None:
        if self.is_gone or getattr(self, name) == value:
            return
        self._account()
        setattr(self, name, value)
        self.world.tell(self.name, what)
        self.world.observer.on_turn(self)
        self._go_on()

    def _go_on(self) -> None:
        self._since = self.world.time
        self._plan()
        if self.is_writing:
            self.world.observer.on_writing(self)

    def _account(self) -> None:
        if self.is_writing:
            self._left = max(0.0, self._left - (self.world.time - self._since))
        self._since = self.world.time

    def _plan(self) -> None:
        self._turn += 1
        if self.is_writing:
            self.world.after(self._left, self._finish, self._turn)

    def _finish(self, turn: int) -> None:
        if turn != self._turn:
            return
        if self._family and not self.is_outlived:
            self.is_outlived = True
            self.world.tell(self.name, "exits, and its family writes on")
            self._left = self._family
            self._go_on()
            self._on_outlived(self)
        else:
            self._end("exits", self._status)

    def _end(self, how: str, status: int) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._turn += 1
            self.world.tell(self.name, how)
            self.world.observer.on_turn(self)
            self._on_exit(self, status)


class Looks:
    """When a process that enforces deadlines looks at the clock: within a tick of each, and whenever it is woken."""

    def __init__(self, process: Process, look: Callable[[float], None]) -> None:
        self._process = process
        self._look = look
        self._planned_at = float("inf")
        process.on_resume.append(self.now)

    def now(self) -> None:
        self._planned_at = float("inf")
        self._look(self._process.machine.boottime())

    def soon(self) -> None:
        """Something has changed that nobody tells: it is seen at the next tick."""
        self._process.after(TICK_SECONDS * self._process.world.random.random(), self.now)

    def plan(self, watchdog: Any, timers: list[float]) -> None:
        now = self._process.machine.boottime()
        ahead = [at for at in (*_deadlines(watchdog), *timers) if at > now]
        soonest = min(ahead, default=float("inf"))
        if soonest < self._planned_at and soonest < float("inf"):
            self._planned_at = soonest
            tick = TICK_SECONDS * self._process.world.random.random()
            self._process.after(soonest - now + tick, self._arrive, soonest)

    def _arrive(self, planned_at: float) -> None:
        if planned_at == self._planned_at:
            self.now()


def _deadlines(watchdog: Any) -> tuple[float, ...]:
    deadlines, base = watchdog.deadlines, watchdog.base
    if deadlines is None:
        return ()
    return base + deadlines.warning, base + deadlines.interrupt, base + deadlines.freeze


class Keeper:
    """A keeper process: the real `KeeperRules`, its thread with the real `LockSession`, and simulated hands."""

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.ids: set[str] = set()
        self.process = Process(run.machine, name)
        self.to_front = Socket(run.front.process, lambda message: run.front.on_keeper(self, message))
        self.from_front = Socket(self.process, self._on_front)
        self.is_done = False
        self.sentinel: Sentinel | None = None
        self.child: Child | None = None
        self.is_child_adopted = False
        self._inbox: deque[Any] = deque()
        self.lease = Lease(self)
        hands = KeeperHands(
            front=FrontOf(self), lease=self.lease, child=Program(self), rescue=Rescue(self), record=Record()
        )
        self._rules = run.code.keeper_rules.KeeperRules(hands, run.machine.boottime())
        self._looks = Looks(self.process, self._look)
        self._sentinels = 0
        self._seen = run.machine.boottime()
        self.process.on_pause.append(self._fall_silent)

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive and not self.is_done

    @property
    def seen(self) -> float:
        """When it has last gone round its loop, as it enters in the page."""
        return self.run.machine.boottime() if self.process.is_awake else self._seen

    def _fall_silent(self) -> None:
        self._seen = self.run.machine.boottime()
        self.run.front.look_closely()

    def ensure_sentinel(self) -> None:
        """Have a sentinel; where one was killed, another takes a moment to start."""
        if self.is_alive and (self.sentinel is None or not self.sentinel.process.is_alive):
            self._sentinels += 1
            self.sentinel = Sentinel(self, self._sentinels)
            self.run.sentinels.append(self.sentinel)
            if self.child is not None:
                self.hold_carrier()

    def hold_carrier(self) -> None:
        """Have the sentinel hold what carries the lock, if anything does."""
        if self.run.world.server is not None and self.sentinel is not None and self.lease.descriptor >= 0:
            self.run.world.server.hold(self.lease.descriptor, self.sentinel.process)

    def kill_sentinel(self) -> None:
        if self.sentinel is not None:
            self.sentinel.process.kill()
            delay = _SENTINEL_START_SECONDS * self.run.world.random.random()
            self.run.world.after(delay, self.process.do, self.ensure_sentinel)

    @property
    def watchdog(self) -> Any:
        return self._rules.watchdog

    # --- its loop -----------------------------------------------------------------------------------------------

    def look_now(self) -> None:
        """Its child has stopped, or goes on: the kernel tells it."""
        self.process.after(0.005 * self.run.world.random.random(), self._looks.now)

    def look_soon(self) -> None:
        self._looks.soon()

    def _look(self, now: float) -> None:
        self._enforce(now)
        self._after()

    def _enforce(self, now: float) -> None:
        self._rules.enforce(now)
        self._watch()

    def _watch(self) -> None:
        if self.watchdog.deadlines is not None and not self.is_done:
            self.run.page.note(self.watchdog.safe_until, self.watchdog.freeze_timeout)

    def _on_front(self, message: Any) -> None:
        now = self.run.machine.boottime()
        self._enforce(now)
        if message is EOF:
            self._rules.on_front_gone(now)
        elif isinstance(message, messages.ChildGone):
            self._reap_adopted()
        else:
            self._rules.on_front(message, now)
        if isinstance(message, messages.Adopt) and message.lock.stage == "held":
            self.run.world.observer.check_base(self.run, message.lock.lock_id, self.watchdog.base)
        if isinstance(message, (messages.Acquire, messages.Adopt)):
            self.ensure_sentinel()
        self._enforce(now)
        self._after()

    def _on_session(self) -> None:
        now = self.run.machine.boottime()
        self._enforce(now)
        self._rules.on_session(self._inbox.popleft(), now)
        self._enforce(now)
        self._after()

    def reap(self, child: Child, status: int) -> None:
        if child is not self.child or self.is_done:
            return
        self.child = None
        self.run.page.clear()
        now = self.run.machine.boottime()
        self._enforce(now)
        self._rules.on_exit(status, now)
        self._after()

    def on_outlived(self, child: Child) -> None:
        if child is self.child and not self.is_done:
            now = self.run.machine.boottime()
            self._rules.enforce(now)
            self._rules.on_outlived(LEFT, now)
            self._after()

    def on_child_gone(self, child: Child, status: int) -> None:
        """A child of ours is heard of at once; an adopted one at a tick."""
        if self.is_child_adopted:
            self.process.after(TICK_SECONDS * self.run.world.random.random(), self.reap, child, 0)
        else:
            self.reap(child, status)

    def _reap_adopted(self) -> None:
        if self.child is not None and self.is_child_adopted:
            self.reap(self.child, 0)

    def _after(self) -> None:
        if self._rules.is_done and not self.is_done:
            self.is_done = True
            self.process.is_alive = False
            self.to_front.send(EOF)
        elif not self.is_done:
            self._looks.plan(self.watchdog, self._rules.timers())

    def kill(self) -> None:
        """Its thread dies with it; its sentinel hears of it at once, and the front an end of file."""
        self.process.kill()
        if self.sentinel is not None:
            self.sentinel.process.after(0.005 * self.run.world.random.random(), self.sentinel.look)
        self.run.stir()
        self.to_front.send(EOF)

    # --- what its hands share -----------------------------------------------------------------------------------

    def post(self, message: Any) -> None:
        self.run.world.observer.on_said(self.run, message)
        self._inbox.append(message)
        self.run.world.after(0.002 * self.run.world.random.random(), self.process.do, self._on_session)

    def tell_first(self, message: Any) -> None:
        self.run.world.observer.on_said(self.run, message)
        self.to_front.send(message)


class FrontOf:
    """The front, at the other end of a socket: a keeper's `FrontPort`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def tell(self, message: messages.ToFront) -> None:
        keeper = self._keeper
        if isinstance(message, (protocol.Held, protocol.Retaken)) and keeper.run.code.wrong != "only the keeper has it":
            keeper.run.front.take_carrier(keeper.lease.descriptor)
        keeper.process.do(keeper.to_front.send, message)  # Who has been stopped since says it later.


class Lease:
    """The real session in a simulated thread: a keeper's `LeasePort`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._session: Any = None
        self._thread: Thread | None = None

    def start(self, request: messages.Acquire, adoption: protocol.Adoption | None) -> None:
        keeper, run = self._keeper, self._keeper.run
        keeper.ids.update([adoption.lock_id] if adoption else [])
        wires = [functools.partial(Wire, keeper.process, index) for index in range(len(run.world.stores))]
        session = run.code.session.LockSession(
            request.lock,
            run.machine,
            QuietSurroundings(),
            deadlines=request.deadlines(),
            post=keeper.post,
            tell=keeper.tell_first,
            adopt=adoption,
        )
        self._session = session
        if run.world.server is not None:
            wires = [functools.partial(PgWire, keeper.process, run.code, self._inherited(adoption))]
        self._thread = Thread(keeper.process, lambda: session.run(wires))

    def _inherited(self, adoption: protocol.Adoption | None) -> int:
        front, keeper = self._keeper.run.front, self._keeper
        if adoption is None or front.carrier < 0 or not front.process.is_alive:
            return -1
        keeper.run.world.server.hold(front.carrier, keeper.process)
        return front.carrier

    @property
    def descriptor(self) -> int:
        """What carries the lock; -1 if nothing does."""
        return self._session.local_fd if self._session is not None else -1

    def free_inner(self) -> None:
        self._session.free_inner()

    def is_served(self) -> bool:
        return self._thread is not None and not self._thread.dead

    def cancel_wait(self) -> None:
        self._session.cancel()

    def release(self, message: protocol.Release, *, errored: str = "", error: str = "") -> None:
        self._keeper.run.world.observer.on_releasing(self._keeper.run)
        self._session.release(message)

    def abandon(self) -> None:
        self._session.abandon()


class Program:
    """A simulated Terraform: a keeper's `ChildPort`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def start(self, message: messages.Spawn) -> int:
        self._keeper.is_child_adopted = False
        self._keeper.child = self._keeper.run.start_child(message.argv[0], self._keeper)
        if self._keeper.run.stops_at_start is not None:
            stop, self._keeper.run.stops_at_start = self._keeper.run.stops_at_start, None
            stop()
        return self._keeper.run.pid

    def guard(self) -> None:
        self._keeper.hold_carrier()

    def adopt(self, pid: int) -> None:
        keeper = self._keeper
        keeper.is_child_adopted = True
        keeper.child = keeper.run.child
        if keeper.child is not None and keeper.child.is_gone:
            keeper.on_child_gone(keeper.child, 0)
        elif keeper.child is not None and keeper.child.is_outlived:
            keeper.process.do(keeper.on_outlived, keeper.child)

    def interrupt(self) -> bool:
        child = self._keeper.child
        if child is None or not self._keeper.run.page.claim_signal():
            return False
        child.interrupt()
        return not child.is_gone

    def is_anothers(self) -> bool:
        return False

    def give_up(self) -> tuple[messages.Relative, ...]:
        raise AssertionError("who is killed here goes")

    def spare(self) -> None:
        self._keeper.run.page.claim_signal()

    def freeze(self) -> list[str]:
        if self._keeper.child is not None and self._keeper.process.is_awake:
            self._keeper.child.freeze()
        return []

    def thaw(self) -> None:
        watchdog = self._keeper.watchdog
        self._keeper.run.page.note(watchdog.safe_until, watchdog.freeze_timeout)
        if self._keeper.child is not None:
            self._keeper.child.thaw()

    def kill(self) -> None:
        if self._keeper.child is not None:
            self._keeper.child.kill()

    def watch_relays(self, now: float) -> None:
        pass

    def take_over_relays(self) -> None:
        pass


class Rescue:
    """Pushes that succeed or fail: a keeper's `RescuePort`."""

    path = "errored.tfstate"
    error = ""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._pushes = 0
        self._unsaved_before = keeper.run.unsaved

    def begin(self, plan: messages.Rescue | None, before: str | None) -> None:
        if before is not None:
            self._unsaved_before = int(before)

    @property
    def is_needed(self) -> bool:
        return self._keeper.run.unsaved > self._unsaved_before

    def start(self) -> int:
        self._keeper.is_child_adopted = False
        self._pushes += 1
        self._keeper.child = self._keeper.run.start_child("push", self._keeper)
        return self._keeper.run.pid

    def ended(self, status: int) -> float | None:
        is_over = status == 0 or self._pushes > len(PAUSES_SECONDS)
        return None if is_over else PAUSES_SECONDS[self._pushes - 1]

    def set_aside(self, lock_id: str) -> str:
        self._unsaved_before = self._keeper.run.unsaved
        return "errored.tfstate.pushed"


class Record:
    """No later step reads what would be in it: a keeper's `RecordPort`."""

    def begin(self, request: messages.Acquire) -> None:
        pass

    def note_held(self, lock: protocol.Held | protocol.Adoption) -> None:
        pass

    def note_outcome(self, outcome: str, exit_code: int | None) -> None:
        pass

    def note_released(self, result: str, held_seconds: float) -> None:
        pass


class Front:
    """A front process: the real handover and the real rules; the rest of it modelled."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.process = Process(run.machine, f"{run.name}/front")
        self.is_over = False
        self.restarts = 0
        self.child: Child | None = None
        self.carrier = -1
        self._is_inherited = False
        self._is_spawning = False
        self._is_resigned = False
        self._stopped: messages.Interrupt | None = None
        self._stopped_at = 0.0
        self._last_word: protocol.Release | None = None
        self._programs = list(run.programs)
        self._handover = run.code.handover.Handover()
        self._rules = run.code.front_rules.FrontRules(run.machine.boottime())
        self._looks = Looks(self.process, self._look)

    def take_carrier(self, descriptor: int) -> None:
        """The descriptor of what carries the lock comes with a message, and is held on its way."""
        server = self.run.world.server
        if server is not None and descriptor >= 0:
            if self.carrier >= 0:
                server.let_go(self.carrier, self.process)
            self.carrier = descriptor
            server.hold(descriptor, self.process)

    # --- what the keeper says -----------------------------------------------------------------------------------

    def on_keeper(self, keeper: Keeper, message: Any) -> None:
        if self.is_over:
            return
        if message is EOF:
            self._on_keeper_gone()
            return
        self._handover.note(message)
        self._rules.hear(message, self.run.machine.boottime())
        if isinstance(message, protocol.Held):
            self._rules.hold(self.run.request.deadlines(), message.base)
            self._go_on()
        elif isinstance(message, messages.Started):
            self._is_spawning = False
            self.child = self.run.child_of(message.pid)
        elif isinstance(message, messages.Pushing):
            self.child = self.run.child_of(message.pid)
        elif isinstance(message, messages.Exited):
            self.child = None
            self._go_on(message.status)
        elif isinstance(message, protocol.Failed):
            self._on_failed(message)
        elif isinstance(message, protocol.Released):
            self._leave(f"over, {message.result}")
        self._looks.now()

    def _on_failed(self, message: protocol.Failed) -> None:
        if self._is_spawning:
            self._is_spawning = False
            self._release()
        else:
            self._leave(f"did not get it: {type(message.why).__name__}")

    def _go_on(self, status: int = 0) -> None:
        """The lock is held, or a program has ended: the next one, or the end."""
        if self._programs and status == 0 and self._stopped is None:
            self._is_spawning = True
            self._handover.begin(str(self.run.unsaved))
            spawn = messages.Spawn(argv=[self._programs.pop(0)], directory="", environ={})
            self.run.keeper.from_front.send(spawn)
        else:
            self._release()

    def _release(self) -> None:
        if self._last_word is None:
            self._last_word = protocol.Release(outcome="interrupted" if self._stopped else "succeeded")
            self.run.keeper.from_front.send(self._last_word)

    def _leave(self, how: str) -> None:
        self.is_over = True
        self.run.world.tell(self.process.name, how)
        self.run.keeper.from_front.send(EOF)

    # --- what else happens to it --------------------------------------------------------------------------------

    def stop(self, message: messages.Interrupt) -> None:
        """Somebody has signalled us; and the child too, where it shares our terminal."""
        if self.is_over or self._stopped is not None:
            return
        self._stopped = message
        self.run.world.tell(self.process.name, "is told to stop")
        self._rules.ask_stop(self.run.machine.boottime())
        if message.is_delivered and self.run.child is not None:
            self.run.child.interrupt(is_ours=False)
        self.run.keeper.from_front.send(message)
        if self._handover.stage in {"idle", "trying"}:
            self.process.after(CANCEL_SECONDS, self._give_up_waiting)

    def _give_up_waiting(self) -> None:
        if not self.is_over and self._handover.stage in {"idle", "trying"}:
            self._leave("leaves a keeper that clears up")

    def kill(self) -> None:
        self.process.kill()
        self.run.stir()
        self.run.keeper.from_front.send(EOF)

    def look_closely(self) -> None:
        """The keeper has just been stopped. It was seen to work until now, as it is at every tick."""
        self.process.do(self._looks.now)

    def look_soon(self) -> None:
        self._looks.soon()

    def _look(self, now: float) -> None:
        if self.is_over or self.run.code.wrong == "front sleeps":
            return
        keeper = self.run.keeper
        self._find_child()
        self._rules.see_safe_until(self.run.page.safe_until)
        if self.child is not None:
            for action in self._rules.decide(now):
                if action.name in {"FREEZE", "THAW", "KILL"}:
                    getattr(self.child, action.name.lower())()
        self._rules.see_keeper(keeper.seen)
        if self._rules.is_keeper_frozen(now) and keeper.is_alive and not keeper.process.is_awake:
            self.run.world.tell(self.process.name, "kills its frozen keeper")
            keeper.kill()
        self._looks.plan(self._rules.watchdog, [now + _CLOSE_LOOK_SECONDS] if keeper.process.is_paused else [])

    def _find_child(self) -> None:
        """Its program is in the page, whether the keeper has told of it or not."""
        program = self.run.page.program
        if self.child is None and program is not None and not program.is_gone:
            self.child, self._is_spawning = program, False
            self._rules.find_child()

    # --- a dead keeper ------------------------------------------------------------------------------------------

    def _on_keeper_gone(self) -> None:
        self._inherit()
        if self.restarts >= MAX_RESTARTS:
            self.run.world.tell(self.process.name, "gives up: its keepers die")
            self._is_resigned = True
            self._rules.resign()
            self.is_over = self.child is None or self.child.is_gone
            self._looks.now()
            return
        self.restarts += 1
        self.process.after(self.run.world.random.uniform(_SENTINEL_SECONDS, 1.0), self._succeed)

    def _inherit(self) -> None:
        """The sentinel has given the child its SIGINT, or will in a moment; if that is dead too, we do."""
        self._find_child()
        if self.child is not None:
            self._is_inherited = True
            self._rules.inherit_child()
            self.process.after(_SENTINEL_SECONDS * self.run.world.random.random(), self._interrupt, self.child)

    def _interrupt(self, child: Child) -> None:
        if child is self.run.page.program and self.run.page.claim_signal():
            child.interrupt()

    def _succeed(self) -> None:
        if self.is_over:
            return
        was_spawning, self._is_spawning = self._is_spawning, False
        keeper = self.run.start_keeper(self.restarts)
        self._rules.start_keeper(self.run.machine.boottime())
        message = self._handover.handover(self.run.request, self.run.pid if self.child else 0)
        keeper.from_front.send(message)
        if self._stopped is not None:
            keeper.from_front.send(self._stopped)
        if self._last_word is not None and self._handover.stage == "held":
            keeper.from_front.send(self._last_word)
        if self.child is not None and self.child.is_gone:
            self.on_child_gone(self.child, _INTERRUPTED)
        elif was_spawning and self.child is None:
            self._go_on(_INTERRUPTED)

    def on_child_gone(self, child: Child, status: int) -> None:
        """A child that we have inherited is ours to reap."""
        if self._is_resigned:
            self.is_over = True
        elif self._is_inherited and child is self.child and self.run.keeper.is_alive:
            self.child, self._is_inherited = None, False
            self._rules.end_child()
            self.run.keeper.from_front.send(messages.ChildGone())
            self._go_on(status or _INTERRUPTED)


class Run:
    """One run of tfguard: waits, holds, works, releases. `programs` are started one after another under the lock."""

    def __init__(
        self, machine: Machine, code: Code, name: str, *, request: messages.Acquire, work: float, dice: random.Random
    ) -> None:
        self.machine = machine
        self.world: World = machine.world
        self.name = name
        self.code = code
        self.request = request
        self.programs = ["init", "apply"] if dice.random() < 0.2 else ["apply"]
        self.ids: set[str] = set()
        self.lock_id = ""
        self.child: Child | None = None
        self.pid = 0
        self.unsaved = 0
        self.is_waiting = True
        self.well_since = self.world.time
        self.held_at = float("-inf")
        self.page = Page(self)
        self.sentinels: list[Sentinel] = []
        self.stops_at_start: Callable[[], None] | None = None
        self._dice = dice
        self._work = work
        self._stop = dice.uniform(0.1, request.terms.lease_seconds)
        self.front = Front(self)
        self.keeper = Keeper(self, f"{name}/keeper")
        self.keeper.from_front.send(request)

    @property
    def lease(self) -> float:
        return self.request.terms.lease_seconds

    @property
    def processes(self) -> tuple[Process, Process]:
        return self.keeper.process, self.front.process

    @property
    def watchers(self) -> list[Process]:
        """Whoever enforces its deadlines, as far as it lives and is not done."""
        front = [] if self.front.is_over else [self.front.process]
        found = [self.keeper.process, *front, *(each.process for each in self.sentinels)]
        return [each for each in found if each.is_alive]

    @property
    def is_anybody_left(self) -> bool:
        """Whether front or keeper is, stopped or not: the lifeline."""
        return self.keeper.is_alive or (self.front.process.is_alive and not self.front.is_over)

    def stir(self) -> None:
        """Something has changed that all of them see at their next tick."""
        for each in self.sentinels:
            if each.process.is_alive:
                each.soon()
        self.keeper.look_soon()
        self.front.look_soon()

    @property
    def is_over(self) -> bool:
        front = self.front
        is_front_over = front.is_over or not front.process.is_alive
        # One that somebody has stopped for good, and whose front has left it, never goes: its lease ends its lock.
        is_keeper_over = not self.keeper.is_alive or (front.is_over and self.keeper.process.is_paused)
        return is_front_over and is_keeper_over and (self.child is None or self.child.is_gone)

    @property
    def is_awake(self) -> bool:
        return all(process.is_awake for process in self.processes)

    def start_keeper(self, number: int) -> Keeper:
        self.keeper = Keeper(self, f"{self.name}/keeper{number + 1}")
        self.well_since = self.world.time
        return self.keeper

    def start_child(self, program: str, keeper: Keeper) -> Child:
        work = {"init": 0.3, "push": self._dice.uniform(0.2, 3.0)}.get(program, self._work)
        self.pid += 1
        # Dice of its own: what else happens in a schedule is as it would be without.
        dice = random.Random(f"{self.world.seed}/{self.name}/{self.pid}")
        self.child = Child(
            self.world,
            f"{self.name}/{program}",
            self.lock_id,
            work=work,
            stop=self._stop,
            on_exit=self._on_exit,
            family=dice.uniform(0.2, 8.0) if dice.random() < 0.15 else 0.0,
            on_outlived=lambda child: self.keeper.process.do(self.keeper.on_outlived, child),
        )
        self.page.clear()
        self.world.after(_ENTRY_SECONDS, self._enter, self.child, keeper)
        self.world.observer.on_started(self)
        if self.code.wrong == "releases early":
            self.world.after(work / 2, self._on_exit, self.child, 0)
        return self.child

    def _enter(self, child: Child, keeper: Keeper) -> None:
        """It enters itself before it can do anything; if its keeper has died by then, it ends at once."""
        if keeper.process.is_alive:
            self.page.enter(child)
        else:
            child.kill()

    def child_of(self, pid: int) -> Child | None:
        """Who has this PID; None if that one has made room for another meanwhile."""
        return self.child if pid == self.pid else None

    def _on_exit(self, child: Child, status: int) -> None:
        if child.name.endswith("/push"):
            status = status or int(self._dice.random() < 0.5)
        elif status != _KILLED and self._dice.random() < (0.6 if self.machine.is_cut else 0.1):
            self.unsaved += 1
            status = 1
        self.front.process.do(self.front.on_child_gone, child, status)
        self.keeper.process.do(self.keeper.on_child_gone, child, status)

    def kill_machine(self) -> None:
        """All of it at once."""
        for process in (*self.processes, *(each.process for each in self.sentinels)):
            process.kill()
        if self.child is not None:
            self.child.kill()


def request(
    name: str,
    *,
    lease: float,
    timeout: float,
    stores: int,
    takeover: protocol.TakeoverPolicy = "always",
    freeze_timeout: float = protocol.FREEZE_TIMEOUT_SECONDS,
) -> messages.Acquire:
    """What a front asks of its keeper."""
    specs = tuple(DynamoDBSpec(table=f"t{index}", lock_id="lock", aws=AwsAccess()) for index in range(stores))
    return messages.Acquire(
        lock=protocol.LockRequest(
            terms=protocol.LockTerms(
                timeout_seconds=timeout,
                lease_seconds=lease,
                takeover=takeover,
                freeze_timeout_seconds=freeze_timeout,
            ),
            holder=Holder(who=name),
            operation="OperationTypeApply",
            info="",
            who=name,
            version="",
            path="b/k",
            is_changing=True,
            ticket=f"ticket-{name}",
        ),
        target=Target(label="prod", path="b/k", backend="s3", workspace="default", stores=specs),
        environ={},
    )


class Plain:
    """A plain Terraform with `-lock-timeout`: takes the lock if it is free, works, unlocks what is its own."""

    def __init__(self, world: World, name: str, record: Any, work: float) -> None:
        self.world = world
        self.name = name
        self.record = record
        self.child: Child | None = None
        self._work = work
        self._pause = 0.5
        self._session: Any = None
        self._try()

    def _try(self) -> None:
        if self.world.server is not None:
            self._session = self.world.server.lock_plainly(self.record)
        try:
            if self.world.server is not None and self._session is None:
                raise Conflict("server")
            for store in self.world.stores if self.world.server is None else ():
                store.create(self.record)
        except Conflict:
            self._give_back()
            self._pause = min(16.0, 2 * self._pause)
            self.world.after(self._pause, self._try)
            return
        self.world.tell(self.name, f"holds {self.record.id}")
        self.world.observer.on_changed()
        self.child = Child(
            self.world, self.name, self.record.id, work=self._work, stop=1.0, on_exit=lambda *_: self._give_back()
        )

    def _give_back(self) -> None:
        if self._session is not None:
            self.world.server.end(self._session)
        for store in self.world.stores:
            found = store.read()
            if found is not None and found.id == self.record.id:
                store.delete(found)
                self.world.tell(self.name, "unlocked")
                self.world.observer.on_changed()
