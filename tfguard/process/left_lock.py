"""What programs of ours may have left locked, where each takes a lock by itself: see `tfguard.lock.guarded`."""

from __future__ import annotations

#: What a Terraform exits with that has crashed and could still say so.
_CRASHED = 11
#: From here on a shell tells of a signal.
_SIGNALLED = 128
#: What is said by one that ends with a lock: it could not free it, has crashed, or was told to stop at once.
_SAYINGS = (
    "Error releasing the state lock",
    "Failed to unlock state",
    "TERRAFORM CRASH",
    "goroutine ",
    "Two interrupts received",
)


class LeftLock:
    """
    Whether a lock that looks like our programs' own may still be theirs.

    One that ends by itself frees its lock, or says that it could not. Whatever lock there is then was taken by somebody
    else: perhaps by the very one for whom ours was refused.
    """

    def __init__(self) -> None:
        self._has_run = self._is_left = False

    def note(self, status: int, words: str) -> None:
        """A program has ended with this status (-n: signal n), and with these as its last words, if they were heard."""
        self._has_run = True
        is_cut_short = status < 0 or status > _SIGNALLED or status == _CRASHED
        self._is_left |= is_cut_short or (status != 0 and any(saying in words for saying in _SAYINGS))

    def is_possible(self, signals: int) -> bool:
        """`signals` is how many have come to stop the run: at the second, a program ends with its lock."""
        return self._is_left or (self._has_run and signals > 1)
