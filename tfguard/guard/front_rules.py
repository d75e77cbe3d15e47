"""
The front's own watch, for when the keeper cannot keep it: over Terraform, and over the keeper.

Pure: no clock, no process. It hears what the keeper says, decides the same about the same Terraform a second time,
and finds a keeper that is frozen itself; the front acts on it, and the simulation drives the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from tfguard.errors import assert_never
from tfguard.guard import messages
from tfguard.guard.signals import Received
from tfguard.guard.watchdog import Action, Watchdog
from tfguard.lock import protocol
from tfguard.lock.deadlines import Deadlines

#: A keeper that says nothing for this long while Terraform is frozen is frozen itself, and is replaced.
FROZEN_KEEPER_SECONDS = 10.0


@dataclass(frozen=True)
class KeeperDied:
    """
    A keeper is no more. `is_last`: nobody takes its place. `leaves_child`: Terraform runs on, and has had its SIGINT.
    """

    is_last: bool
    leaves_child: bool


#: What a front's listener hears: all that the keeper says, each signal, and of every keeper's death.
Heard = Union[messages.ToFront, Received, KeeperDied]


class FrontRules:
    """Watches one run. Instants are boottime; `watchdog` decides about Terraform."""

    def __init__(self, now: float) -> None:
        self.watchdog = Watchdog(None, now)
        self._heard_at = now
        self._frozen_at = now

    def start_keeper(self, now: float) -> None:
        """A keeper starts, and has its time to speak."""
        self._heard_at = now

    def hold(self, deadlines: Deadlines | None, base: float) -> None:
        """The lock is held: from `base` on the lease counts."""
        self.watchdog = Watchdog(deadlines, base)

    def hear(self, message: messages.ToFront, now: float) -> None:
        """The keeper has said something."""
        self._heard_at = now
        match message:
            case protocol.Beaten():
                self.watchdog.landed(message.base)
            case messages.Told(event="child.signalled"):
                self.watchdog.is_interrupted = True
            case protocol.Lost():
                self.watchdog.lose(message.kind)
            case messages.Started() | messages.Pushing():
                self.watchdog.start_child()
            case (
                messages.Ready()
                | messages.Exited()
                | messages.Told()
                | protocol.Waiting()
                | protocol.Trying()
                | protocol.Held()
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

    def inherit_child(self) -> None:
        """The keeper is dead, and its sentinel has given Terraform the one SIGINT."""
        self.watchdog.is_interrupted = True

    def resign(self) -> None:
        """No keeper comes any more, so no beat ever shows that a frozen Terraform may go on: `safe_until` ends it."""
        self.watchdog.lose("expired")

    def decide(self, now: float) -> list[Action]:
        """Return what to do to Terraform at `now`, most urgent first."""
        actions = self.watchdog.decide(now)
        if Action.FREEZE in actions:
            self._frozen_at = now
        return actions

    @property
    def keeper_silent_until(self) -> float:
        """
        Until when the keeper may say nothing while Terraform is frozen.

        Counted from the freeze at the earliest: after a suspension of the machine it has said nothing for long
        either, and must have its time to wake up in.
        """
        return max(self._heard_at, self._frozen_at) + FROZEN_KEEPER_SECONDS

    def is_keeper_frozen(self, now: float) -> bool:
        """Whether the keeper is frozen itself: a successor has to find out whose the lock is."""
        return self.watchdog.is_frozen and now > self.keeper_silent_until
