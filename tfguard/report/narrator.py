"""
Turns what the keeper says, that it died, and what signals come, into messages: the right one, once.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

from msgspec import structs

from tfguard.clock import Clock, SystemClock
from tfguard.errors import assert_never
from tfguard.guard import messages
from tfguard.guard.front_rules import Heard, KeeperDied, ThreadDied
from tfguard.guard.signals import Received
from tfguard.lock import protocol
from tfguard.lock.store import LockRecord
from tfguard.report import live_line
from tfguard.report.messages import phrases, running, states, waiting
from tfguard.report.reporter import Level, Reporter

#: While the lock is busy something is said at every change, and this often.
REPEAT_SECONDS = 30.0


class Narrator:
    """Hears every message of one run. `subject` is set as soon as it is known what the run is about."""

    def __init__(self, report: Reporter, subject: phrases.Subject, clock: Clock | None = None) -> None:
        self.subject = subject
        self.is_interactive = False
        self.run_timeout_seconds = 0.0
        self._report = report
        self._clock = clock or SystemClock()
        self._live = live_line.LiveLine(self._clock)
        self._shown: tuple[str, int, bool] | None = None
        self._shown_at = 0.0
        self._stops = 0
        self._is_running = False
        self._is_stopping = False
        self._is_aborting = self._is_given_up = False
        self._is_warned = False
        self._error = ""

    def hear(self, message: Heard) -> None:  # noqa: C901, PLR0912 - one case a message, and nothing else
        """Say what there is to say of a message, a signal, or a keeper's death."""
        if not isinstance(message, (protocol.Waiting, protocol.Trying)):
            self._live.hide()
        match message:
            case protocol.Waiting():
                self._on_waiting(message)
            case protocol.Held():
                self._shown = None
            case protocol.Beaten():
                self._is_warned, self._error = False, ""
                self._report.detail("lease.renewed", label=self.subject.label, beat=message.beat)
            case protocol.Doubted():
                self._report.detail("lease.doubted", label=self.subject.label)
            case protocol.Retaken():
                self._report.detail("lease.retaken", label=self.subject.label)
                if message.is_state_changed:
                    self._say("warning", "state.changed_unlocked", running.retaken(self.subject))
            case protocol.Troubled():
                self._on_troubled(message)
            case protocol.Lost():
                self._on_lost(message)
            case protocol.Rescued():
                self._on_rescued(message)
            case protocol.DigestDiffers():
                self._on_digest(message)
            case messages.Started():
                self._is_running = True
                self._report.detail("child.started", label=self.subject.label, pid=message.pid)
            case messages.Exited():
                self._is_running = False
                self._report.detail("child.exited", label=self.subject.label, exit_code=message.status)
            case messages.Told():
                self._on_told(message)
            case Received():
                self._on_signal(message)
            case KeeperDied():
                self._on_keeper_died(message)
            case ThreadDied():
                text = running.thread_died(self.subject, message.error)
                self._say("error", "thread.died", text, error=message.error)
            case (
                messages.Ready()
                | messages.Pushing()
                | protocol.Trying()
                | protocol.Releasing()
                | protocol.Released()
                | protocol.Failed()
            ):
                pass  # How the wait and the release ended, the runner says.
            case _:
                assert_never(message)

    def _say(self, level: Level, event: str, text: str, **facts: object) -> None:
        self._live.hide()
        self._report.say(level, event, text, label=self.subject.label, **facts)

    def _on_waiting(self, message: protocol.Waiting) -> None:
        if message.is_inside:
            self._on_waiting_inside(message)
            return
        if message.is_free or (message.record is None and not message.trouble and not self.subject.is_local):
            return  # It was released: the next look will tell who has it.
        if self._report.is_live and not message.trouble:
            if not self._stops:
                self._live.show(self.subject.label, message)
            return
        now = self._clock.boottime()
        sight = (message.record.id if message.record else "", message.place, bool(message.trouble))
        if sight == self._shown and now - self._shown_at < REPEAT_SECONDS:
            return
        self._shown, self._shown_at = sight, now
        if message.trouble:
            text = waiting.trouble(self.subject, message.trouble, message.remaining_seconds)
            self._say("warning", "store.failed", text, error=message.trouble)
            return
        is_silent = message.seen_seconds > REPEAT_SECONDS and message.expires_in_seconds is not None
        text = waiting.waiting(
            self.subject,
            message.record,
            self._clock.now(),
            remaining_seconds=message.remaining_seconds,
            expires_in_seconds=message.expires_in_seconds if is_silent else None,
            # There is no room for both when it is to end, and how long others usually took.
            standing=waiting.standing(structs.replace(message, usual_seconds=None) if is_silent else message),
        )
        facts = holder_facts(message.record)
        self._say("info", "lease.awaited", text, **facts, remaining_s=round(message.remaining_seconds))

    def _on_waiting_inside(self, message: protocol.Waiting) -> None:
        now, pid = self._clock.boottime(), message.ahead.pid if message.ahead else 0
        sight = (f"inside, behind {pid}", 0, False)
        if sight == self._shown and now - self._shown_at < REPEAT_SECONDS:
            return
        self._shown, self._shown_at = sight, now
        text = waiting.turn_awaited(self.subject, message.ahead, remaining_seconds=message.remaining_seconds)
        self._say("info", "turn.awaited", text, ahead=pid or None, remaining_s=round(message.remaining_seconds))

    def _on_rescued(self, message: protocol.Rescued) -> None:
        texts = {
            "pushed": lambda: states.pushed(self.subject, message.path),
            "kept": lambda: states.kept(self.subject, message.place, message.error),
            "left": lambda: states.left(self.subject, message.path, message.error),
            "lost": lambda: states.kept_after_loss(self.subject, message.path),
        }
        level: Level = "warning" if message.result == "pushed" else "error"
        self._say(level, f"state.{message.result}", texts[message.result](), path=message.path, place=message.place)

    def _on_digest(self, message: protocol.DigestDiffers) -> None:
        text = states.digest_differs(self.subject, table=message.table, stored=message.stored, actual=message.actual)
        self._say("error", "state.digest_differs", text, stored=message.stored, actual=message.actual)

    def _on_told(self, message: messages.Told) -> None:
        silence = message.silence_seconds
        match message.event:
            case "lease.warned":
                self._on_warned(message)
            case "child.signalled":
                self._on_signalled(message)
            case "child.frozen":
                text = running.freezing(self.subject, silence, is_doubted=bool(message.reason))
                self._say("error", message.event, text, silence_s=round(silence))
            case "child.unstoppable":
                self._say("error", message.event, running.unstoppable(self.subject, message.reason))
            case "child.frozen_too_long":
                text = running.frozen_too_long(self.subject, silence, is_doubted=bool(message.reason))
                self._say("error", message.event, text, silence_s=round(silence))
            case "child.thawed":
                self._say("warning", message.event, running.thawed(self.subject))
            case "child.killed":
                pass  # Only a lost lock ends a child so, and that has been said.
            case "keeper.broken":
                text = running.broken(self.subject, message.error)
                self._say("error", message.event, text, error=message.error)
            case "run.timed_out":
                self._say("error", message.event, running.timed_out(self.subject, self.run_timeout_seconds))
            case "family.awaited":
                text, pids = running.outlived(self.subject, message.left), [each.pid for each in message.left]
                self._say("warning", message.event, text, pids=pids)
            case "family.killed" | "child.unkillable":
                self._is_given_up = message.event == "child.unkillable"
                tell = running.family_killed if message.event == "family.killed" else running.unkillable
                self._say(
                    "error", message.event, tell(self.subject, message.left), pids=[it.pid for it in message.left]
                )
            case _:
                assert_never(message.event)

    def _on_troubled(self, message: protocol.Troubled) -> None:
        """The cause of a failed heartbeat: to be said when the watchdog finds that it is time to."""
        if message.during == "holding":
            self._error = message.error

    def _on_warned(self, message: messages.Told) -> None:
        """The lease has been silent for long; said once a silence."""
        if self._is_warned:
            return
        self._is_warned = True
        text = running.warned(self.subject, message.silence_seconds, self._error)
        self._say("warning", "lease.warned", text, silence_s=round(message.silence_seconds), error=self._error)

    def _on_signalled(self, message: messages.Told) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        text = running.stopping(self.subject, message.reason)
        self._say("warning", message.event, text, reason=message.reason)

    def _on_keeper_died(self, message: KeeperDied) -> None:
        self._is_stopping = self._is_stopping or message.leaves_child
        if not message.is_last:
            text = running.died(self.subject, is_running=message.leaves_child)
            self._say("warning", "keeper.died", text)
        elif message.leaves_child:  # Else the run ends now, with that very error.
            self._say("error", "keeper.died", running.died_again(self.subject))

    def _on_lost(self, message: protocol.Lost) -> None:
        if self._is_given_up:
            return  # That it is, and why, has been said.
        text = running.lost(self.subject, message.kind, message.record, self._clock.now())
        self._say("error", "lease.lost", text, reason=message.kind, **holder_facts(message.record))

    def _on_signal(self, received: Received) -> None:
        self._stops += 1
        self._report.note_signal(received.number)
        if not self._is_running:
            return  # There is nothing to wait for: that we end, and why, is said at the end.
        name = signal.Signals(received.number).name
        at_terminal = received.is_from_terminal and self.is_interactive
        if at_terminal and not self._is_stopping:
            self._is_stopping = True
            self._say("warning", "signal.received", running.stopping_at_terminal(self.subject), signal=name)
        elif at_terminal and not self._is_aborting:
            self._is_aborting = True
            self._say("warning", "signal.received", running.aborting(self.subject), signal=name)
        elif self._is_stopping or self._stops > 1:
            self._say("warning", "signal.received", running.still_stopping(self.subject, name), signal=name)


def holder_facts(record: LockRecord | None) -> Mapping[str, object]:
    """Who holds a lock, for machines: the same keys wherever a holder is told of."""
    if record is None or record.info is None:
        return {"holder": None}
    info, lease = record.info, record.lease
    holder = {"who": info.who, "operation": info.operation, "created": info.created, "lock_id": info.id}
    if lease is None:
        return {"holder": {**holder, "has_heartbeat": False}}
    said = {name: getattr(lease.holder, name) for name in ("who", "command", "run", "link")}
    return {"holder": {**holder, **said, "has_heartbeat": True, "beaten_at": lease.beaten_at, "token": lease.token}}
