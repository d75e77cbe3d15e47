"""
Who was killed, and has not gone: another user's process, or one that waits in the kernel for a disk that has gone.

Pure, as the rules that use it. Nothing waits for ever, and nothing that may still write is reckoned to be gone: the
run ends without its lock, which is not released.
"""

from __future__ import annotations

from tfguard.guard.hands import ChildPort

#: Who has been killed again and again for so long, in seconds, does not go at all.
IN_VAIN_SECONDS = 60.0
#: Of the time between two kills no more than this counts: the whole machine may have slept.
_LONGEST_SECONDS = 1.0


class Killing:
    """How long the program at hand and its family have been killed by now. Instants are boottime."""

    def __init__(self, child: ChildPort) -> None:
        self._child = child
        self._last = float("inf")
        self._spent_seconds = 0.0

    def kill(self, now: float) -> None:
        """Kill them. To be called at every look, as long as they are there."""
        self._spent_seconds += max(0.0, min(now - self._last, _LONGEST_SECONDS))
        self._last = now
        self._child.kill()

    def clear(self) -> None:
        """They are gone."""
        self._last, self._spent_seconds = float("inf"), 0.0

    @property
    def is_in_vain(self) -> bool:
        """Whether they will not go, whatever is done."""
        return self._spent_seconds >= IN_VAIN_SECONDS
