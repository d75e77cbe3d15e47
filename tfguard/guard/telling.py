"""What a keeper tells of what it has done to the child: once for as long as it holds, and only what was verified."""

from __future__ import annotations

from collections.abc import Sequence

from tfguard.errors import LostKind
from tfguard.guard import messages
from tfguard.guard.hands import FrontPort
from tfguard.lock import refusals

#: What runs on for so long after it was to stop has not been stopped, and cannot be by us.
UNSTOPPABLE_SECONDS = 2.0


def why_nothing_starts(lost: LostKind | None, *, is_stopping: bool) -> refusals.Refusal:
    """Under a lock that is lost no program starts, nor once somebody has asked to stop."""
    if lost is None or is_stopping:
        return refusals.Interrupted()
    return refusals.LeaseLost(message="The lock was lost before this could start under it.", kind=lost, record=None)


class Telling:
    """Tells the front. `silence_seconds` is for how long no heartbeat has landed."""

    def __init__(self, front: FrontPort) -> None:
        self._front = front
        self._has_said: set[messages.Event] = set()

    def begin(self) -> None:
        """A program starts, of which nothing has been said."""
        self._has_said.clear()

    def say(self, event: messages.Event, silence_seconds: float, reason: str = "") -> None:
        """Say that this has happened."""
        self._front.tell(messages.Told(event=event, reason=reason, silence_seconds=silence_seconds))

    def say_once(self, event: messages.Event, silence_seconds: float, reason: str = "") -> None:
        """Say what holds at every look when it begins to."""
        if event not in self._has_said:
            self._has_said.add(event)
            self.say(event, silence_seconds, reason)

    def say_frozen(self, running: Sequence[str], for_seconds: float, silence_seconds: float, reason: str) -> None:
        """It was to stop so long ago, and these run all the same: it is said to be frozen when nobody does."""
        if not running:
            self.say_once("child.frozen", silence_seconds, reason)
        elif for_seconds >= UNSTOPPABLE_SECONDS:
            self.say_once("child.unstoppable", silence_seconds, ", ".join(running))

    def say_thawed(self, silence_seconds: float) -> None:
        """It goes on, and may be frozen again."""
        self._has_said.discard("child.frozen")
        self.say("child.thawed", silence_seconds)
