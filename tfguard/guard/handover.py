"""
How far a keeper has come, by its own word: what a successor needs if it dies.

The keeper announces each step before it takes it. So whatever instant it dies at, the last word tells where to look:
*trying* an ID that may have been written, *held* since a beat that had landed, *releasing* what may be gone already.
Which errored state is the run's own, the front takes down itself: by then the keeper's memory is gone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tfguard.errors import assert_never
from tfguard.guard import messages
from tfguard.lock import protocol


class Handover(msgspec.Struct):
    """
    The front's copy. `base` is the instant from which the lease counts, as the keeper last told it, `held_at` the first
    of them, after `waited_seconds`; `errored_before` the `rescue.stamp` of what lay there before the run's first
    program, None as long as none was started. `is_nested`, `force_unlock_id`: as in `protocol.Held`.
    """

    stage: Literal["idle", "trying", "held", "releasing"] = "idle"
    lock_id: str = ""
    beat: int = 0
    base: float = 0.0
    token: int = 0
    held_at: float = 0.0
    waited_seconds: float = 0.0
    errored_before: str | None = None
    is_nested: bool = False
    force_unlock_id: str = ""
    doubted_at: float | None = None

    def begin(self, errored: str) -> None:
        """A program is about to start. Before the first, what lies where an errored state would is somebody else's."""
        if self.errored_before is None:
            self.errored_before = errored

    def note(self, message: messages.ToFront) -> None:
        """Take down a message of the keeper's, if it belongs here."""
        match message:
            case protocol.Trying():
                self.stage, self.lock_id, self.base = "trying", message.lock_id, message.base
            case protocol.Held():
                self.stage, self.lock_id, self.token = "held", message.lock_id, message.token
                self.is_nested, self.force_unlock_id = message.is_nested, message.force_unlock_id
                self.beat, self.base = message.beat, message.base
                self.held_at, self.waited_seconds = message.base, message.waited_seconds
            case protocol.Beaten():
                self.beat, self.base = message.beat, message.base
            case protocol.Doubted():
                self.doubted_at = message.at
            case protocol.Releasing():
                self.stage = "releasing"
            case protocol.Failed():
                self.stage = "idle"
            case (
                messages.Ready()
                | messages.Started()
                | messages.Exited()
                | messages.Told()
                | messages.Pushing()
                | protocol.Waiting()
                | protocol.Retaken()
                | protocol.Troubled()
                | protocol.Lost()
                | protocol.Rescued()
                | protocol.DigestDiffers()
                | protocol.Released()
            ):
                pass
            case _:
                assert_never(message)

    def handover(self, request: messages.Acquire, child: int) -> messages.Acquire | messages.Adopt:
        """Return what to tell a successor; `child` is the process that the front has inherited, 0 if there is none."""
        if self.stage == "idle":
            return request
        return messages.Adopt(
            acquire=request,
            lock=protocol.Adoption(
                stage=self.stage,
                lock_id=self.lock_id,
                beat=self.beat,
                base=self.base,
                token=self.token,
                held_at=self.held_at,
                waited_seconds=self.waited_seconds,
                is_nested=self.is_nested,
                force_unlock_id=self.force_unlock_id,
                doubted_at=self.doubted_at,
            ),
            child=child,
            errored_before=self.errored_before,
        )
