"""
What a keeper decides: from what the front, the lease's thread and the child tell it, and from the clock.

Pure: no process, no socket, no descriptor, no clock of its own. What is to be done, it asks of its `hands`: in the
keeper they are processes and pipes, in the simulation they are simulated ones, and the decisions are the same code.

Three rules stand above the rest. One SIGINT for each child on our account, whoever asks how often. Nothing starts
under a lock that is lost, or once somebody has asked to stop. Release only after the child is gone.
"""

from __future__ import annotations

import signal

from tfguard.errors import assert_never
from tfguard.guard import messages
from tfguard.guard.hands import KeeperHands
from tfguard.guard.killing import Killing
from tfguard.guard.one_signal import OneSignal
from tfguard.guard.outlived import Outlived
from tfguard.guard.telling import Telling, why_nothing_starts
from tfguard.guard.watchdog import Action, Watchdog
from tfguard.lock import protocol
from tfguard.lock.deadlines import TICK_SECONDS


class KeeperRules:
    """
    One keeper's decisions about one lock, and the programs run under it one after another.

    Large on purpose: nearly every rule weighs the front, the child and the lease against one another, so it needs to
    know of all three.

    Tell it what happened, with the instant (boottime); call `enforce` at least every `TICK_SECONDS`, and first of all
    whenever time may have passed unseen. `is_done`: there is nothing left for this keeper to do.
    """

    def __init__(self, hands: KeeperHands, now: float) -> None:
        self.is_done = False
        self.watchdog = Watchdog(None, now)
        self._hands = hands
        self._request: messages.Acquire | None = None
        self._has_session = False
        self._lock_id = ""
        self._is_nested = False
        self._has_child = False
        self._is_child_inherited = False
        self._is_front_alive = True
        self._is_stopping = False
        self._is_timed_out = False
        self._telling = Telling(hands.front)
        self._times_out_at: float | None = None
        self._orphan_killed_at = float("inf")
        self._signal = OneSignal(hands.child, self._telling, lambda: self.watchdog, self._limit_deaf)
        self._killing = Killing(hands.child)
        self._outlived = Outlived(hands.front, self._killing)
        self._outcome = "orphaned"
        self._closing: protocol.Release | None = None
        self._release_after_child: protocol.Release | None = None
        self._releasing: protocol.Release | None = None
        self._push_at = float("inf")

    # --- what the front says ------------------------------------------------------------------------------------

    def on_front(self, message: messages.ToKeeper, now: float) -> None:
        """The front asks for something."""
        match message:
            case messages.Acquire():
                self._start_session(message, None)
            case messages.Adopt():
                self._adopt(message)
            case messages.Spawn():
                self._spawn(message, now)
            case messages.Interrupt():
                self._on_interrupt(message, now)
            case messages.ChildHeard():
                self._signal.spare()
            case protocol.Release():
                self._release(message, now)
            case messages.ChildGone():
                pass  # Of a child that is gone we hear by `on_exit`.
            case _:
                assert_never(message)

    def _start_session(self, request: messages.Acquire, adopt: messages.Adopt | None) -> None:
        self._request = request
        self._has_session = True
        self._hands.record.begin(request)
        self._hands.rescue.begin(request.rescue, adopt.errored_before if adopt else None)
        self._hands.lease.start(request, adopt.lock if adopt else None)

    def _adopt(self, message: messages.Adopt) -> None:
        self._start_session(message.acquire, message)
        if message.lock.stage == "held":
            self._is_nested = message.lock.is_nested
            self._lock_id = message.lock.lock_id
            if not self._is_nested:
                self.watchdog = self._watch(message.acquire, message.lock.base)
                if message.lock.doubted_at is not None:
                    self.watchdog.doubt(message.lock.doubted_at)
                self._hands.record.note_held(message.lock)
            self.watchdog.is_interrupted = message.is_interrupted
        elif message.lock.stage == "releasing":
            self._releasing = protocol.Release(outcome="")  # The thread goes on with it by itself.
        if message.child:
            self._has_child = self._is_child_inherited = True
            self._hands.child.adopt(message.child)

    def _spawn(self, message: messages.Spawn, now: float) -> None:
        if self._is_stopping or self.watchdog.lost or self._has_child:
            why = why_nothing_starts(self.watchdog.lost, is_stopping=self._is_stopping)
            self._hands.front.tell(protocol.Failed(why=why))
            return
        pid = self._hands.child.start(message)
        if not pid:
            return
        self._has_child = True
        self._telling.begin()
        self._signal.begin(is_child_seen=bool(message.relayed))
        self.watchdog.start_child()
        self._hands.child.guard()
        self.enforce(now)  # After a sleep since the last beat the child starts frozen, until the next beat lands.
        self._hands.front.tell(messages.Started(pid=pid))
        seconds = self._request.terms.run_timeout_seconds if self._request else None
        if seconds is not None and self._times_out_at is None:
            self._times_out_at = now + seconds

    def _on_interrupt(self, message: messages.Interrupt, now: float) -> None:
        self._outcome = "interrupted"  # Should the front be killed next, as after a cancel, this is how the run ended.
        self._is_stopping = True
        self._limit_family(now)
        if not self._has_child:
            if self._has_session:
                self._hands.lease.cancel_wait()
        elif message.is_delivered:
            self._signal.spare()
        else:
            self._signal.ask_at(now + message.grace_seconds, message.reason)
        self._hands.child.watch_relays(now)

    def on_front_gone(self, now: float) -> None:
        """The front has died: bring the child home, release, and go."""
        self._is_front_alive = False
        self._is_stopping = True
        self._hands.child.take_over_relays()
        self._limit_family(now)
        if self._has_child:
            self._orphan_killed_at = now + self._orphan_timeout_seconds
            self._signal.ask("the front is gone", now)
        elif not self._has_session:
            self.is_done = True
        elif self._lock_id:
            self._release_orphaned(now)
        else:
            self._hands.lease.cancel_wait()  # Should the lock come all the same, it is released then.

    @property
    def _orphan_timeout_seconds(self) -> float:
        return self._request.terms.orphan_timeout_seconds if self._request else protocol.ORPHAN_TIMEOUT_SECONDS

    # --- the end of the run -------------------------------------------------------------------------------------

    def _release_orphaned(self, now: float) -> None:
        self._release(protocol.Release(outcome=self._outcome), now)

    def _release(self, message: protocol.Release, now: float) -> None:
        if self._closing is not None or self._releasing is not None:
            return  # It is under way: after its last word to the thread nothing more may be started.
        if self._has_child:  # A push that a dead predecessor has left to us, say: it may be writing.
            self._release_after_child = message
            return
        if self._has_session and not self._is_nested:
            self._hands.record.note_outcome(message.outcome, message.exit_code)
        if not self._has_session:
            self._finish(protocol.Released(result="nothing"))
        elif self.watchdog.lost is not None:
            self._hands.lease.abandon()
            kind = self.watchdog.lost
            if self._hands.rescue.is_needed:
                self._hands.front.tell(protocol.Rescued(result="lost", path=self._hands.rescue.path))
            self._finish(protocol.Released(result="failed" if kind == "expired" else kind))
        elif not self._hands.lease.is_served():
            self._finish(protocol.Released(result="nothing"))
        elif self._hands.rescue.is_needed and not self._is_nested:  # Whoever holds the lock sees to that.
            self._closing = message
            if message.may_have_left_lock:  # It would keep the push out, which waits for that.
                self._hands.lease.free_inner()
            self._push(now)
        else:
            self._hand_over(message)

    def _hand_over(self, message: protocol.Release, *, is_state_unsaved: bool = False) -> None:
        """The thread releases and says so; should it lose the lock first, `on_session` hears of that instead."""
        self._releasing = message
        if is_state_unsaved:
            rescue = self._hands.rescue
            self._hands.lease.release(message, errored=rescue.path, error=rescue.error)
        else:
            self._hands.lease.release(message)

    def _push(self, now: float) -> None:
        """
        Try once to push the state that Terraform could not save; `_on_pushed` hears how it ended. Nothing starts that
        would have to be frozen at once: whose the lock is by now, a beat tells, or a loss, or the end of the lease.
        """
        self._push_at = float("inf")
        if self.watchdog.lost is None and self.watchdog.safe_until <= now < self.watchdog.expires_at:
            self._push_at = now + TICK_SECONDS
            return
        is_safe = self.watchdog.lost is None and now < self.watchdog.safe_until
        pid = self._hands.rescue.start() if is_safe else 0
        if pid:
            self._has_child = True
            self._telling.begin()
            self._hands.front.tell(messages.Pushing(pid=pid))  # Should we be frozen, it is the front that freezes it.
        else:
            self._close_after_rescue(1, now)

    def _on_pushed(self, status: int, now: float) -> None:
        self._hands.front.tell(messages.Pushing(pid=0))
        pause = self._hands.rescue.ended(status)
        if pause is not None and self.watchdog.lost is None:
            self._push_at = now + pause
        else:
            self._close_after_rescue(status, now)

    def _close_after_rescue(self, status: int, now: float) -> None:
        """Release; a state that could not be pushed is copied first, by the thread that has the credentials."""
        message, self._closing = self._closing, None
        assert message is not None
        if self.watchdog.lost is not None or not self._hands.lease.is_served():
            self._release(message, now)
        elif status == 0:
            self._hands.front.tell(protocol.Rescued(result="pushed", path=self._hands.rescue.set_aside(self._lock_id)))
            self._hand_over(message)
        else:
            self._hand_over(message, is_state_unsaved=True)

    def _finish(self, last: protocol.Released) -> None:
        self._note_released(last)
        self._hands.front.tell(last)
        self.is_done = True

    def _note_released(self, message: protocol.Released) -> None:
        """The lock is not ours any more; where its release failed, the record goes on to say that it is."""
        if message.result not in ("failed", "nothing"):
            self._hands.record.note_released(message.result, message.held_seconds)

    # --- what the lease's thread says ---------------------------------------------------------------------------

    def on_session(self, message: protocol.Word, now: float) -> None:
        """The lease's thread has found something out; the front hears of all of it."""
        match message:
            case protocol.Held():
                self._on_held(message)
            case protocol.Beaten() | protocol.Doubted() | protocol.Lost():
                self.watchdog.hear(message)
            case protocol.Retaken():
                if self._has_child:
                    self._hands.child.guard()
            case protocol.Failed() if self._lock_id:
                # A successor whose store cannot be opened, say. What is held is not failed to be had: nobody beats it.
                self.on_session(protocol.Lost(kind="expired"), now)
                return
            case protocol.Failed():
                self._has_session = False
                self.is_done = not self._is_front_alive
            case protocol.Released():
                self._note_released(message)
                self.is_done = True
            case (
                protocol.Waiting()
                | protocol.Trying()
                | protocol.Troubled()
                | protocol.Rescued()
                | protocol.DigestDiffers()
                | protocol.Releasing()
            ):
                pass
            case _:
                assert_never(message)
        self._hands.front.tell(message)
        if isinstance(message, protocol.Held) and not self._is_front_alive:
            self._release_orphaned(now)
        if isinstance(message, (protocol.Lost, protocol.Failed)) and self._releasing is not None:
            asked, self._releasing = self._releasing, None
            self._release(asked, now)

    def _on_held(self, message: protocol.Held) -> None:
        assert self._request is not None
        self._is_nested = message.is_nested
        if message.is_nested:
            self._lock_id = message.lock_id
            return
        self.watchdog = self._watch(self._request, message.base)
        self._lock_id = message.lock_id
        self._hands.record.note_held(message)

    @staticmethod
    def _watch(request: messages.Acquire, base: float) -> Watchdog:
        return Watchdog(request.deadlines(), base, request.terms.freeze_timeout_seconds)

    # --- the child ----------------------------------------------------------------------------------------------

    def on_exit(self, status: int, now: float) -> None:
        """
        The child is gone, and its family. A push that ended is the keeper's own affair, any other program the front's.
        """
        self._has_child = False
        self._outlived.clear()
        self._killing.clear()
        self._signal.clear()
        if self._closing is not None:
            self._on_pushed(status, now)
            return
        if not self._is_child_inherited:  # Of that one the front knows itself, and its status too.
            self._hands.front.tell(messages.Exited(status=status))
        self._is_child_inherited = False
        if self._release_after_child is not None:
            self._release(self._release_after_child, now)
        elif not self._is_front_alive:
            self._release_orphaned(now)

    def on_outlived(self, left: tuple[messages.Relative, ...], now: float) -> None:
        """
        The program has ended, and these of its family run on. They may write, so to us it runs on as well.

        Told again and again until `on_exit`.
        """
        self._outlived.note(left, now)

    def _limit_family(self, now: float) -> None:
        """Somebody has asked to stop: from now on who outlives the program has a limited time for it."""
        self._outlived.limit(now + self._orphan_timeout_seconds)

    def on_everybody_signalled(self, now: float) -> None:
        """Somebody is ending every process here, one by one: the child first hears of it from us."""
        if self._has_child:
            self._is_stopping = True
            self._limit_family(now)
            self._signal.send_once("SIGTERM to every process", now)

    def on_signalled(self, now: float) -> None:
        """
        We ourselves were asked to stop, by a signal that the front passes on: so was the child, most likely.

        Not for certain: `pkill -f tfguard` finds us and not the child. See `OneSignal.ask`.
        """
        if self._has_child:
            self._signal.note_own(now)

    def enforce(self, now: float) -> None:
        """Do what the clock demands."""
        for action in self.watchdog.decide(now):
            self._act(action, now)
        if now >= self._push_at:
            self._push(now)
        if not self._has_child:
            return
        if now >= self.watchdog.frozen_until:
            self._telling.say("child.frozen_too_long", self._silence(now), self.watchdog.doubt_reason)
            self.on_session(protocol.Lost(kind="expired"), now)
        if self._times_out_at is not None and now >= self._times_out_at and not self._is_timed_out:
            self._is_timed_out = True
            self._hands.front.tell(messages.Told(event="run.timed_out"))
            self._limit_family(now)
            self._signal.send_once("run timeout", now)
        self._signal.enforce(now)
        if now >= self._orphan_killed_at:
            self._outcome = "orphan-killed"
            self._killing.kill(now)
        self._outlived.enforce(now)
        if self._killing.is_in_vain:
            self._give_up(now)

    def _give_up(self, now: float) -> None:
        """It does not go, so the lock cannot be released, and nobody waits for it: the run ends without its lock."""
        self._hands.front.tell(messages.Told(event="child.unkillable", left=tuple(self._hands.child.give_up())))
        if self.watchdog.lost is None:
            self.on_session(protocol.Lost(kind="expired"), now)
        self._is_child_inherited = False  # The front would wait for its end as well.
        self.on_exit(-signal.SIGKILL, now)

    def timers(self) -> list[float]:
        """The instants, those of the lease aside, at which `enforce` will have something to do."""
        ours = (self._push_at, self._times_out_at, self._signal.at, self._orphan_killed_at)
        return [at for at in (*ours, self.watchdog.frozen_until, *self._outlived.timers()) if at is not None]

    def _act(self, action: Action, now: float) -> None:
        if action is Action.WARN:
            self._telling.say("lease.warned", self._silence(now))
        elif not self._has_child:
            return
        elif action is Action.INTERRUPT:  # The watchdog has counted it already.
            self._signal.send("no heartbeat" if self.watchdog.lost is None else "lock lost", now)
        elif action is Action.FREEZE:
            running = self._hands.child.freeze()
            frozen_for, reason = now - self.watchdog.frozen_at, self.watchdog.doubt_reason
            self._telling.say_frozen(running, frozen_for, self._silence(now), reason)
        elif action is Action.THAW:
            self._hands.child.thaw()
            self._telling.say_thawed(self._silence(now))
        else:
            self._outlived.doom()
            self._killing.kill(now)
            self._telling.say_once("child.killed", self._silence(now))

    def _limit_deaf(self, now: float) -> None:
        """The child is another user's, and hears nothing of us: it has the time of an orphan."""
        self._orphan_killed_at = min(self._orphan_killed_at, now + self._orphan_timeout_seconds)

    def _silence(self, now: float) -> float:
        return now - self.watchdog.base
