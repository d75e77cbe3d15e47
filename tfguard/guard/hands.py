"""
What a keeper can do, by what it does it to: the ports through which `KeeperRules` acts.

In the keeper they are sockets, threads and processes, in the simulation simulated ones. Nothing here blocks, and
nothing decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tfguard.guard import messages
from tfguard.guard.messages import Relative
from tfguard.lock import protocol


class FrontPort(Protocol):
    """The front, if there is one."""

    def tell(self, message: messages.ToFront) -> None:
        """Send it a message."""
        ...


class LeasePort(Protocol):
    """The thread that waits, beats and releases."""

    def start(self, request: messages.Acquire, adoption: protocol.Adoption | None) -> None:
        """Start it."""
        ...

    def is_served(self) -> bool:
        """Whether it is still there to be told anything."""
        ...

    def cancel_wait(self) -> None:
        """Have it give up waiting."""
        ...

    def release(self, message: protocol.Release, *, errored: str = "", error: str = "") -> None:
        """Have it release. `errored`: keep a copy of this state first, which could not be pushed for `error`."""
        ...

    def free_inner(self) -> None:
        """Have it free what the program that has ended has left locked by itself."""
        ...

    def abandon(self) -> None:
        """Have it end without touching anything."""
        ...


class ChildPort(Protocol):
    """The program that runs under the lock, its output, and the sentinel beside it."""

    def start(self, message: messages.Spawn) -> int:
        """Start a program, and return its PID; 0 if that failed, and the front has been told why."""
        ...

    def guard(self) -> None:
        """Have the sentinel hold its pipes, and what carries a local lock, if we die."""
        ...

    def adopt(self, pid: int) -> None:
        """Watch a child that a dead predecessor started, and its family."""
        ...

    def interrupt(self) -> bool:
        """
        Send the one SIGINT; where the program has ended, one to each of its family that has lost its parent.

        Return whether it was sent: it may have had it, be gone, or be another user's.
        """
        ...

    def is_anothers(self) -> bool:
        """Whether it has become another user's, whom we cannot signal."""
        ...

    def give_up(self) -> Sequence[Relative]:
        """It does not go. Leave it to the sentinel, which stays with it and with a local lock; return who is left."""
        ...

    def spare(self) -> None:
        """It has had its SIGINT: nobody of ours is to send another."""
        ...

    def freeze(self) -> Sequence[str]:
        """Stop it and its family; return the names of those that run all the same. For every look."""
        ...

    def thaw(self) -> None:
        """Let it and its family go on."""
        ...

    def kill(self) -> None:
        """SIGKILL it and its family."""
        ...

    def watch_relays(self, now: float) -> None:
        """From now on a front that relays nothing is frozen: drain the child's output in its place."""
        ...

    def take_over_relays(self) -> None:
        """The front is gone: drain the child's output."""
        ...


class RescuePort(Protocol):
    """The state that the child could not save, if it has left one."""

    def begin(self, plan: messages.Rescue | None, before: str | None) -> None:
        """Watch for it from now on. `before` as in `messages.Adopt.errored_before`."""
        ...

    @property
    def is_needed(self) -> bool:
        """Whether there is such a state."""
        ...

    @property
    def path(self) -> str:
        """Where it is."""
        ...

    @property
    def error(self) -> str:
        """Why the last push of it failed."""
        ...

    def start(self) -> int:
        """Start one push of it, as a child, and return its PID; 0 if that failed."""
        ...

    def ended(self, status: int) -> float | None:
        """A push has ended: after how many seconds to try again, None if that is of no use."""
        ...

    def set_aside(self, lock_id: str) -> str:
        """Rename the pushed file, so that nobody pushes it twice; return its new name."""
        ...


class RecordPort(Protocol):
    """The run's record, for a later step of its job."""

    def begin(self, request: messages.Acquire) -> None:
        """Keep the record that comes with this request."""
        ...

    def note_held(self, lock: protocol.Held | protocol.Adoption) -> None:
        """The lock is held: `lock` says under which IDs, and since when."""
        ...

    def note_outcome(self, outcome: str, exit_code: int | None) -> None:
        """The run is over, and ended so."""
        ...

    def note_released(self, result: str, held_seconds: float) -> None:
        """The lock is not ours any more."""
        ...


class KeeperHands(msgspec.Struct, frozen=True):
    """All of them."""

    front: FrontPort
    lease: LeasePort
    child: ChildPort
    rescue: RescuePort
    record: RecordPort
