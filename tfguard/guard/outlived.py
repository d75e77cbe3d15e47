"""
Those of a program's family that have outlived it: they may write, so the lock is kept until they are gone.

Pure, as the rules that use it: it is told who is left, and says what is to be done through the keeper's hands.
"""

from __future__ import annotations

from tfguard.guard import messages
from tfguard.guard.hands import FrontPort
from tfguard.guard.killing import Killing

#: A program's family may take so long to follow it, in seconds, before it is said who is waited for; then each:
_FAMILY_SECONDS = (1.0, 600.0)


class Outlived:
    """Who is left of the program at hand, nobody as long as it runs itself. Instants are boottime."""

    def __init__(self, front: FrontPort, killing: Killing) -> None:
        self._front = front
        self._killing = killing
        self._left: tuple[messages.Relative, ...] = ()
        self._told_at = self._killed_at = float("inf")
        self._is_doomed = False

    def note(self, left: tuple[messages.Relative, ...], now: float) -> None:
        """The program has ended, and these run on. Told again and again until they are gone."""
        if not self._left:
            self._told_at = now + _FAMILY_SECONDS[0]
        self._left = left

    def clear(self) -> None:
        """They are gone, and so is the program."""
        self._left, self._told_at = (), float("inf")

    def limit(self, until: float) -> None:
        """Somebody has asked to stop: who still runs then is killed."""
        self._killed_at = min(self._killed_at, until)

    def doom(self) -> None:
        """The program is killed, and they with it."""
        self._is_doomed = True

    def enforce(self, now: float) -> None:
        """Do what the clock demands."""
        if not self._left:
            return
        if now >= self._killed_at or self._is_doomed:
            if self._told_at < float("inf"):
                self._front.tell(messages.Told(event="family.killed", left=self._left))
                self._told_at = float("inf")
            self._killing.kill(now)  # Each time: another may have come of it.
        elif now >= self._told_at:
            self._told_at = now + _FAMILY_SECONDS[1]
            self._front.tell(messages.Told(event="family.awaited", left=self._left))

    def timers(self) -> tuple[float, ...]:
        """The instants at which `enforce` will have something to do."""
        return (self._told_at, self._killed_at) if self._left else ()
