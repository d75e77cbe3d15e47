"""
The promises, checked after every step.

| promise    | checked                                                                                          |
|------------|--------------------------------------------------------------------------------------------------|
| exclusion  | no two children write at once, nor does one outlive its release                                  |
| windows    | whose lock was force-unlocked, or whose hypervisor paused it, stops by its `safe_until`; if the  |
|            | network is well, it has been told to stop within one heartbeat (a beat that had no answer just   |
|            | before is tried again after a pause of its own, which these short leases make the longer one)    |
| one signal | a child gets one SIGINT of ours at most                                                          |
| no alarm   | nobody declares a loss while the record is, and always was, its own, or once he has released it; |
|            | where nothing breaks, no child is stopped                                                        |
| the freeze | at `safe_until`, and a tick, no child writes, as long as one of front, keeper and sentinel is awake  |
|            | and nobody has thawed it or paused its machine a moment ago; none stays frozen for longer than   |
|            | `freeze_timeout` under the eyes of a keeper or a sentinel that is                                |
| no wait    | nobody finds the lock busy with a record of its own                                              |
| no theft   | nobody deletes another's record; nobody takes over one that he has not watched for its lease     |
| takeover   | nobody waits for a record that has been silent for its lease; one of the living takes it         |
| no stall   | a lock that is free, or whose holder is dead, is taken however long and dead the line is         |
| order      | where nothing breaks, nobody overtakes who has a place in line before him                        |
| beats      | a record's beat never goes down while the lock ID is the same                                    |
| tokens     | each acquisition's token is above all before, and the queue record's never goes down             |
| the end    | once the network is well and all are awake, everybody has had his turn, and nothing is left      |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.actors import Child, Plain, Run
from tests.simulation.world import Wire, World
from tfguard.lock import protocol, queue_record
from tfguard.lock.deadlines import JITTER, RETRY_SECONDS, TICK_SECONDS, Deadlines
from tfguard.lock.store import LockRecord, QueueRecord

#: What a look at the clock, a message, a request may take on top of a deadline, in seconds.
_MOMENT = 0.2
#: What a child may write after a pause of its whole machine, before any of ours has a processor: measured, in seconds.
WAKE_SECONDS = 0.065
#: By when a keeper that is awake has heard that a connection has ended, and has stopped its child, in seconds.
_TOLD = 0.055 + _MOMENT
#: How often the line is looked at, and how long a lock that somebody could have may be left, in seconds.
_STALL_LOOK, _STALL = 5.0, 25.0
#: The patience of who waits without an end, in seconds.
_EVER = 1e6


class Observer:
    """Sees everything, and knows what must never be. `is_calm`: nothing is going to break in this schedule."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: dict[str, Run] = {}
        self.plains: list[Plain] = []
        self.is_calm = False
        self.takeovers = 0
        self.losses = 0
        self.waits = 0
        self.windows = 0
        self.longest_window = 0.0
        self._open: dict[int, tuple[Child, float]] = {}
        self._stores = range(len(world.stores))
        self._excused: dict[str, float] = {}
        self._removed: dict[str, float] = {}
        self._unanswered: dict[str, float] = {}
        self._released: set[str] = set()
        self._severed: set[str] = set()
        self._bare: dict[str, float] = {}
        self.severed = self.retaken = 0
        self._sights: dict[Any, float] = {}
        self._first: dict[tuple[str, int], tuple[Any, float]] = {}
        self._looked_at: dict[str, float] = {}
        self._numbers: dict[str, tuple[int, float]] = {}
        self._token = self._counted = 0
        self._tokens: set[int] = set()
        self._too_late: set[int] = set()
        self._changed_at = 0.0
        world.after(_STALL_LOOK, self._look_for_stall)

    # --- the lock record ----------------------------------------------------------------------------------------

    def on_read(self, wire: Wire, record: LockRecord | None) -> None:
        key = (wire.process.name, wire.index)
        sight = (record.text, record.beat) if record else None
        self._looked_at[wire.process.name] = wire.process.machine.boottime()
        if sight is not None:
            self._sights.setdefault((*key, sight), wire.process.machine.boottime())
        if key not in self._first or self._first[key][0] != sight:
            self._first[key] = (sight, wire.process.machine.boottime())

    def on_unanswered(self, wire: Wire, until: float) -> None:
        """A request of his has no answer; at `until` he gives up on it."""
        self._unanswered[wire.process.name] = until

    def on_changed(self) -> None:
        self._changed_at = self.world.time

    def on_written(self, wire: Wire, before: LockRecord | None, after: LockRecord | None, *, is_late: bool) -> None:
        self.on_changed()
        run = self._run_of(wire)
        if before is not None and (after is None or after.id != before.id):
            self._removed.setdefault(before.id, self.world.time)
        if after is None and before is not None:
            if before.id not in run.ids:
                self.world.fail(f"{wire.process.name} deleted {before.id}, which is another's")
            self._released.add(before.id)
        if before is None and after is not None and after.id in self._removed:
            self._on_revived(after.id, is_late=is_late)
        if after is not None and (before is None or before.id != after.id) and not is_late:
            self._check_order(run, after)
        if before is None or after is None:
            return
        if before.id != after.id and before.id not in run.ids:
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
            self._excused[lock_id] = float("inf")
        else:
            self._removed.pop(lock_id, None)
            self._excused.pop(lock_id, None)

    def _check_takeover(self, wire: Wire, before: LockRecord) -> None:
        self.takeovers += 1
        if before.lease is None:
            self.world.fail(f"{wire.process.name} took the lock of a plain Terraform")
            return
        sight, since = self._first.get((wire.process.name, wire.index), (None, 0.0))
        if self.world.server is not None:  # A plain Terraform hides the row, and changes nothing in it.
            since = self._sights.get((wire.process.name, wire.index, sight), since)
        watched = wire.process.machine.boottime() - since
        if sight != (before.text, before.beat) or watched < before.lease.duration_ms / 1000:
            self.world.fail(f"{wire.process.name} took {before.id} after watching it for {watched:.2f} s")

    # --- where the lock is a connection's -----------------------------------------------------------------------

    def on_severed(self, lock_id: str, *, is_silent: bool) -> None:
        """What carries this lock ends: until it is carried again a plain Terraform may come."""
        self._severed.add(lock_id)
        self._bare[lock_id] = self.world.time
        self.severed += 1
        told = _TOLD
        if is_silent:  # Then a beat finds out.
            runs = [run for run in self.runs.values() if lock_id in run.ids]
            told += max((run.machine.real(1.1 * Deadlines.of(run.lease).heartbeat) for run in runs), default=0.0)
        self.world.after(told, self._check_bare, lock_id, self.world.time, is_silent)

    def on_carried(self, lock_id: str) -> None:
        """It is carried again; that it was not has been heard by then of whoever has taken it."""
        if self._bare.pop(lock_id, None) is None:
            return
        self.retaken += 1
        for run in self.runs.values():
            child = run.child
            if child is not None and child.lock_id == lock_id and child.is_writing and not self._is_excused(child):
                self.world.fail(f"{child.name} writes on while its lock is taken again")

    def on_plain_between(self, lock_id: str) -> None:
        """A plain Terraform has come while the row was another's, who is right to give it up."""
        self._severed.add(lock_id)

    def _check_bare(self, lock_id: str, since: float, is_silent: bool) -> None:
        for run in self.runs.values():
            child, keeper, machine = run.child, run.keeper.process, run.machine
            is_told = keeper.is_awake and keeper.awake_since <= since and machine.cut_until <= since
            if is_silent and lock_id in run.ids:
                is_told = is_told and self.world.fair_since <= since and run.well_since <= since
                if is_told and self.world.time < (tries_by := self._tries_by(run)):
                    self.world.at(tries_by, self._check_bare, lock_id, since, is_silent)
                    continue
            if child is None or child.lock_id != lock_id or not child.is_writing or machine.is_asleep or not is_told:
                continue
            if self._bare.get(lock_id) == since and not self._is_excused(child) and not run.keeper.is_done:
                self.world.fail(f"{child.name} writes on, though what carried its lock has ended")

    # --- the queue record ---------------------------------------------------------------------------------------

    def on_queue_written(self, wire: Wire, record: QueueRecord) -> None:
        state = queue_record.decode(record.text)
        if state.token < self._token:
            self.world.fail(f"{wire.process.name} wrote token {state.token}, after {self._token}")
        # Who lost his lock to another between taking and counting counts all the same, but is never given the number.
        if state.token > self._token:
            if self._is_held_by(wire):
                self._counted = state.token
            elif self._is_held_by_another(wire):
                self._too_late.add(state.token)
        self._token = state.token
        for ticket in state.tickets:
            if ticket.id not in self._numbers:
                self._numbers[ticket.id] = (ticket.number, self.world.time)
                self.world.tell(wire.process.name, f"{ticket.id} is number {ticket.number}")
            elif self._numbers[ticket.id][0] != ticket.number and self._has_known_its_number(ticket.id):
                self.world.fail(f"{ticket.id} was number {self._numbers[ticket.id][0]}, and is {ticket.number}")

    def _is_held_by(self, wire: Wire) -> bool:
        keeper = self._run_of(wire).keeper
        records = [self.world.record(index) for index in self._stores]
        return keeper.process is wire.process and all(record and record.id in keeper.ids for record in records)

    def _is_held_by_another(self, wire: Wire) -> bool:
        ids = self._run_of(wire).ids
        records = [self.world.record(index) for index in self._stores]
        return any(record is not None and record.id not in ids for record in records)

    def _has_known_its_number(self, ticket_id: str) -> bool:
        run = next(run for run in self.runs.values() if run.request.lock.ticket == ticket_id)
        return self.world.fair_since == 0.0 == run.machine.cut_until and run.keeper.name == f"{run.name}/keeper"

    def _check_order(self, run: Run, taken: LockRecord) -> None:
        if not self.is_calm or run.request.terms.timeout_seconds < _EVER:
            return  # Who has to give up otherwise may try at his last look.
        mine, _ = self._numbers.get(run.request.lock.ticket, (_EVER, 0.0))
        for other in self.runs.values():
            number, since = self._numbers.get(other.request.lock.ticket, (_EVER, 0.0))
            if number < mine and self.world.time - since > 1.0 and other.is_waiting and not self._has_taken(other):
                self.world.fail(f"{run.name} takes {taken.id} before {other.name}, who is number {number}")

    def _has_taken(self, run: Run) -> bool:
        return any(lock_id in self._removed for lock_id in run.ids)

    def _look_for_stall(self) -> None:
        """Whether somebody well waits, though for long nothing has happened to a lock that he could have."""
        world = self.world
        world.after(_STALL_LOOK, self._look_for_stall)
        records = [world.record(index) for index in self._stores]
        if not world.weather.is_fair or any(record is not None and record.lease is None for record in records):
            return
        leases = [record.lease.duration_ms / 1000 for record in records if record is not None and record.lease]
        patience = _STALL + max(leases, default=0.0) / 0.8
        quiet_since = max(self._changed_at, world.fair_since)
        for run in self.runs.values():
            well_since = max(quiet_since, run.well_since, run.machine.cut_until)
            if run.is_waiting and not run.is_over and run.is_awake and world.time - well_since > patience:
                world.fail(f"{run.name} waits, though nobody lives who holds the lock")

    # --- what keepers say ---------------------------------------------------------------------------------------

    def on_said(self, run: Run, message: Any) -> None:
        """A keeper's thread has found something out; nobody else has heard of it yet."""
        if isinstance(message, protocol.Waiting):
            self._on_busy(run, message)
        elif isinstance(message, protocol.Trying):
            run.ids.add(message.lock_id)
            run.keeper.ids.add(message.lock_id)
            if message.base > run.machine.boottime():
                self.world.fail(f"{run.name} counts from the future")
        elif isinstance(message, protocol.Held):
            self._on_held(run, message)
        elif isinstance(message, protocol.Beaten):
            self._unanswered.pop(run.keeper.process.name, None)
            self.check_base(run, run.lock_id, message.base)
        elif isinstance(message, protocol.Lost):
            self._on_lost(run, message)
        elif isinstance(message, protocol.Failed):
            run.is_waiting = False
            self.world.tell(run.name, f"failed: {type(message.why).__name__}")

    def _on_busy(self, run: Run, message: protocol.Waiting) -> None:
        self.waits += 1
        record = message.record
        if record is None or message.is_free or message.trouble:
            return
        if record.id in run.keeper.ids:
            self.world.fail(f"{run.name} waits for itself")
        if record.lease is not None:
            looked_at = self._looked_at[run.keeper.process.name]
            silence = looked_at - max(self._seen_since(run, index) for index in self._stores)
            if silence > record.lease.duration_ms / 1000 + _MOMENT:
                self.world.fail(f"{run.name} waits for {record.id}, which has been silent for {silence:.1f} s")

    def _seen_since(self, run: Run, index: int) -> float:
        return self._first[run.keeper.process.name, index][1]

    def _on_held(self, run: Run, message: protocol.Held) -> None:
        run.is_waiting = False
        run.lock_id = message.lock_id
        run.held_at = self.world.time
        self._unanswered.pop(run.keeper.process.name, None)
        self.world.tell(run.name, f"holds {message.lock_id}, token {message.token}")
        if message.lock_id in self._removed:
            return
        dead = message.dead.lease.token if message.dead and message.dead.lease else 0
        if message.token and message.token <= dead:
            self.world.fail(f"{run.name} has token {message.token}, after the dead one's {dead}")
        if message.token and (message.token < self._counted or message.token in self._tokens):
            self.world.fail(f"{run.name} has token {message.token}, after {self._counted}")
        if message.token in self._too_late:
            self.world.fail(f"{run.name} has token {message.token}, which was counted when another held the lock")
        self._tokens.add(message.token)
        self.check_base(run, message.lock_id, message.base)

    def _on_lost(self, run: Run, message: protocol.Lost) -> None:
        self.losses += 1
        self.world.tell(run.name, f"lost: {message.kind}")
        current = [self.world.record(index) for index in self._stores]
        is_ours = all(record is not None and record.id in run.ids for record in current)
        if message.kind == "gone" and run.lock_id in self._released:
            self.world.fail(f"{run.name} declares its lock lost, which it has released itself")
        if is_ours and not self._removed.keys() & run.ids and not self._severed & run.ids:
            self.world.fail(f"{run.name} declares its lock lost ({message.kind}), which it holds")

    def check_base(self, run: Run, lock_id: str, base: float) -> None:
        """
        The holder counts from `base` now; that is true only if every record shows a beat sent no earlier.

        A successor may be told to go on with a lock that was unlocked, and that a late copy of its first write has
        brought back, before it has looked; what it has to make of that is a unit test's.
        """
        if self._is_excused_for_good(lock_id):
            return
        for index in self._stores:
            record = self.world.record(index)
            if record is not None and record.id == lock_id and record.lease and record.lease.sent < base - 1e-6:
                self.world.fail(f"{run.name} counts from {base - record.lease.sent:.2f} s after its last beat")

    # --- children -----------------------------------------------------------------------------------------------

    def on_writing(self, child: Child) -> None:
        writing = [each for each in self._children() if each.is_writing and not self._is_excused(each)]
        if child not in writing and child.is_writing and not self._is_excused(child):
            writing.append(child)
        plains = [plain.child for plain in self.plains]
        if any(
            each in plains for each in writing
        ):  # Beside it whoever has not heard yet that nothing carries his lock.
            writing = [each for each in writing if each in plains or each.lock_id not in self._bare]
        if len(writing) > 1:
            self.world.fail("two write at once: " + " and ".join(each.name for each in writing))

    def on_started(self, run: Run) -> None:
        """A child has been started: from now on somebody watches over it until it is gone."""
        assert run.child is not None
        self._check_freeze(run, run.child)

    def _check_freeze(self, run: Run, child: Child) -> None:
        """Look at a child now and then, and a tick after each `safe_until`."""
        if child.is_gone or run.is_over or child is not run.child:
            return
        world, machine, tick = self.world, run.machine, run.machine.real(1.3 * TICK_SECONDS) + 0.01
        left = machine.real(run.page.safe_until - machine.boottime()) + tick
        is_watched = any(each.is_awake and each.awake_since <= world.time - tick for each in run.watchers)
        if left > 0.0 or not is_watched or child.is_asleep:
            world.after(min(max(left, TICK_SECONDS), 60.0), self._check_freeze, run, child)
            return
        if child.is_writing and world.time > child.excused_until:
            world.fail(f"{child.name} writes {-left + tick:.2f} s after its safe_until")
        longest = machine.real(run.page.freeze_timeout) + 2 * tick
        # A front leaves this to others, and replaces a keeper that does nothing about it.
        counting = [each for each in run.watchers if each.is_awake and each is not run.front.process]
        is_kept = any(each.awake_since <= child.frozen_since for each in counting)
        if child.is_frozen and is_kept and world.time - max(child.frozen_since, run.well_since) > longest:
            world.fail(f"{child.name} stays frozen for ever")
        world.after(TICK_SECONDS, self._check_freeze, run, child)

    def let_go_on(self, child: Child, go_on: Callable[[], None], unseen_seconds: float) -> None:
        """
        Somebody else than ours lets it go on, and for so long nobody of ours has the chance to look.

        Until then it may write, whosever the lock is. For how long it does is measured.
        """
        child.excused_until = max(child.excused_until, self.world.time + unseen_seconds)
        go_on()
        if child.is_writing and unseen_seconds:
            self.windows += 1
            self._open[id(child)] = child, self.world.time
        self.world.at(child.excused_until + 1e-6, self.on_writing, child)

    def on_turn(self, child: Child) -> None:
        """It goes on, or has stopped, or is gone."""
        if id(child) in self._open and not child.is_writing:
            _, since = self._open.pop(id(child))
            self.longest_window = max(self.longest_window, self.world.time - since)

    def on_releasing(self, run: Run) -> None:
        if run.child is not None and not run.child.is_gone:
            self.world.fail(f"{run.name} releases while {run.child.name} runs")

    def on_stopped(self, child: Child) -> None:
        """We have sent it a SIGINT, or frozen it."""
        if child.signals > 1:
            self.world.fail(f"{child.name} had {child.signals} SIGINTs")
        if self.is_calm:
            self.world.fail(f"{child.name} is stopped, though nothing is wrong")

    def on_unlocked(self, record: LockRecord) -> None:
        """A person has removed this lock."""
        self._removed.setdefault(record.id, self.world.time)
        self.on_changed()
        for run in self.runs.values():
            if record.id in run.ids:
                self.excuse(run, record.id)
        for plain in self.plains:
            if record.id == plain.record.id:
                self._excused[record.id] = float("inf")  # It has no lease, and will never know.

    def excuse(self, run: Run, lock_id: str) -> None:
        """From now on this run does not know that it may write no more. Both windows that open are checked."""
        world, deadlines = self.world, Deadlines.of(run.lease)
        until = world.time + run.machine.real(deadlines.freeze + 1.2 * TICK_SECONDS)
        until = self._excused[lock_id] = max(until, self._excused.get(lock_id, 0.0))
        world.at(until + 1e-6, self._check_gone, run, lock_id)
        told_by = world.time + run.machine.real(1.1 * deadlines.heartbeat + TICK_SECONDS) + _MOMENT
        world.at(told_by, self._check_told, run, lock_id, world.time)

    def _check_gone(self, run: Run, lock_id: str) -> None:
        child = run.child
        is_lost = lock_id in self._removed
        if is_lost and child and child.is_writing and child.lock_id == lock_id and not self._is_excused(child):
            self.world.fail(f"{child.name} still writes after its lock was unlocked and its lease is over")

    def _check_told(self, run: Run, lock_id: str, since: float) -> None:
        child, world = run.child, self.world
        is_well = world.fair_since <= since and run.machine.cut_until <= since and run.well_since <= since
        if not (is_well and run.is_awake and child and child.is_writing and child.lock_id == lock_id):
            return
        if self._removed.get(lock_id, float("inf")) > since:
            return  # Held at `since`; an unlock after that opens a window of its own.
        if self._is_excused_for_good(lock_id):
            return
        if child.signals or run.keeper.watchdog.is_interrupted:
            return
        if world.time < (tries_by := self._tries_by(run)):
            world.at(tries_by, self._check_told, run, lock_id, since)
        else:
            world.fail(f"{child.name} has not been told within a heartbeat that its lock is gone")

    def _is_excused_for_good(self, lock_id: str) -> bool:
        return self._excused.get(lock_id) == float("inf")

    def _tries_by(self, run: Run) -> float:
        """
        By when its keeper has tried again, and heard, after a request without an answer.

        Who stood still hears only on waking that there is no answer, and rests from then on. Who counts the acquisition
        sends no heartbeat before that is over: the first one, at once if it is due by then.
        """
        unanswered = self._unanswered.get(run.keeper.process.name)
        if unanswered is None:
            return run.held_at + run.machine.real(TICK_SECONDS) + _MOMENT
        rest = run.machine.real((1 + JITTER) * RETRY_SECONDS + TICK_SECONDS)
        return max(unanswered, run.well_since) + rest + _MOMENT

    def _is_excused(self, child: Child) -> bool:
        return self.world.time <= max(child.excused_until, self._excused.get(child.lock_id, -1.0))

    def _children(self) -> list[Child]:
        return [each.child for each in (*self.runs.values(), *self.plains) if each.child is not None]

    def _run_of(self, wire: Wire) -> Run:
        return self.runs[wire.process.name.partition("/")[0]]

    # --- the end ------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        left = [run.name for run in self.runs.values() if not run.is_over]
        if left:
            self.world.fail(f"never came to an end: {', '.join(left)}")
        if self.is_calm and any(self.world.record(index) for index in self._stores):
            self.world.fail("a lock is left behind")
        record = self.world.queue_record()
        if self.is_calm and record is not None and queue_record.decode(record.text).tickets:
            self.world.fail("a ticket is left behind")
