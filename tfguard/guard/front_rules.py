"""
The front's own watch, for when the keeper cannot keep it: over Terraform, and over the keeper.

Pure: no clock, no process. It hears what the keeper says, decides the same about the same Terraform a second time,
and finds a keeper that is frozen itself, at whatever stage; the front acts on it, and the simulation drives the same
code.
"""

from __future__ import annotations

from typing import Union

import msgspec

from tfguard.errors import assert_never
from tfguard.guard import messages
from tfguard.guard.signals import Received
from tfguard.guard.watchdog import Action, Watchdog
from tfguard.lock import protocol
from tfguard.lock.deadlines import Deadlines

#: A keeper that does nothing for this long while something is to be done is frozen itself, and is replaced.
FROZEN_KEEPER_SECONDS = 10.0
#: Who has not looked at the clock for this long was frozen, and knows nothing of what others did meanwhile.
_OWN_GAP_SECONDS = 2.0


class KeeperDied(msgspec.Struct, frozen=True):
    """
    A keeper is no more. `is_last`: nobody takes its place. `leaves_child`: Terraform runs on, and has had its SIGINT.
    """

    is_last: bool
    leaves_child: bool


class ThreadDied(msgspec.Struct, frozen=True):
    """A thread of the front's has ended of a defect of ours. The run goes on without it."""

    error: str


#: What a front's listener hears: all that the keeper says, each signal, of every keeper's death, and of defects.
Heard = Union[messages.ToFront, Received, KeeperDied, ThreadDied]


class FrontRules:
    """Watches one run. Instants are boottime; `watchdog` decides about Terraform."""

    def __init__(self, now: float) -> None:
        self.watchdog = Watchdog(None, now)
        self.is_keeper_starting = True
        self._heard_at = now
        self._looked_at = now
        self._has_child = False
        self._is_stop_asked = False

    def start_keeper(self, now: float) -> None:
        """A keeper starts, and has its time to speak."""
        self._heard_at = now
        self.is_keeper_starting = True

    def see_keeper(self, at: float) -> None:
        """It was seen to do something at this instant, whether it has said anything or not."""
        self._heard_at = max(self._heard_at, at)

    def ask_stop(self, now: float) -> None:
        """The keeper is told to stop; from now on there is something for it to do."""
        self._is_stop_asked = True
        self.see_keeper(now)

    def hold(self, deadlines: Deadlines | None, base: float) -> None:
        """The lock is held: from `base` on the lease counts."""
        self.watchdog = Watchdog(deadlines, base)

    def hear(self, message: messages.ToFront, now: float) -> None:
        """The keeper has said something."""
        self._heard_at = now
        match message:
            case messages.Ready():
                self.is_keeper_starting = False
            case protocol.Beaten() | protocol.Doubted() | protocol.Lost():
                self.watchdog.hear(message)
            case messages.Told(event="child.signalled"):
                self.watchdog.is_interrupted = True
            case messages.Started():
                self.find_child()
            case messages.Pushing(pid=pid) if pid:
                self.find_child()
            case messages.Exited() | messages.Pushing():
                self.end_child()
            case (
                messages.Told()
                | protocol.Waiting()
                | protocol.Trying()
                | protocol.Held()
                | protocol.Retaken()
                | protocol.Troubled()
                | protocol.Rescued()
                | protocol.DigestDiffers()
                | protocol.Releasing()
                | protocol.Released()
                | protocol.Failed()
            ):
                pass
            case _:
                assert_never(message)

    def find_child(self) -> None:
        """A child runs: by the keeper's word, or found before that."""
        if not self._has_child:
            self._has_child = True
            self.watchdog.start_child()

    def end_child(self) -> None:
        """It has ended."""
        self._has_child = False

    def see_safe_until(self, instant: float) -> None:
        """So far the keeper has come, whether its word for it has reached us or not."""
        if self.watchdog.deadlines is not None and instant < float("inf"):
            self.watchdog.landed(instant - self.watchdog.deadlines.freeze)

    def inherit_child(self) -> None:
        """The keeper is dead, and its sentinel has given Terraform the one SIGINT."""
        self.watchdog.is_interrupted = True

    def resign(self) -> None:
        """No keeper comes any more, so no beat ever shows that a frozen Terraform may go on: `safe_until` ends it."""
        self.watchdog.lose("expired")

    def decide(self, now: float) -> list[Action]:
        """Return what to do to Terraform at `now`, most urgent first."""
        return self.watchdog.decide(now)

    @property
    def keeper_silent_until(self) -> float:
        """
        Until when the keeper may do nothing.

        While Terraform runs well and nobody has asked it to stop, as long as it runs well: the keeper's death would
        interrupt it. From a freeze on it has its time anew: a beat that lands is what it tries for.
        """
        if self.watchdog.is_frozen:
            return max(self._heard_at, self.watchdog.frozen_at) + FROZEN_KEEPER_SECONDS
        is_well = self._has_child and not self._is_stop_asked
        return float("inf") if is_well else self._heard_at + FROZEN_KEEPER_SECONDS

    def is_keeper_frozen(self, now: float) -> bool:
        """
        Whether the keeper is frozen itself, so that a successor has to take its place.

        To be asked at every look: a gap between two tells that we were frozen too, with the whole machine as likely as
        not, and the keeper must have its time to wake up in.
        """
        if now - self._looked_at > _OWN_GAP_SECONDS:
            self.see_keeper(now)
        self._looked_at = now
        return now > self.keeper_silent_until
