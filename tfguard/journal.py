"""
How far a keeper has come, by its own word: what a successor needs if it dies.

The keeper announces each step before it takes it. So whatever instant it dies at, the last word tells where to look:
*trying* an ID that may have been written, *held* since a beat that had landed, *releasing* what may be gone already.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tfguard import wire


class Journal(msgspec.Struct):
    """The front's copy. `base` is the instant from which the lease counts, as the keeper last told it."""

    stage: Literal["idle", "trying", "held", "releasing"] = "idle"
    lock_id: str = ""
    beat: int = 0
    base: float = 0.0
    token: int = 0

    def note(self, message: Any) -> None:
        """Take down a message of the keeper's, if it belongs here."""
        if isinstance(message, wire.Trying):
            self.stage, self.lock_id, self.base = "trying", message.lock_id, message.base
        elif isinstance(message, wire.Held) and not message.is_nested:
            self.stage, self.lock_id, self.token = "held", message.lock_id, message.token
            self.beat, self.base = message.beat, message.base
        elif isinstance(message, wire.Beaten):
            self.beat, self.base = message.beat, message.base
        elif isinstance(message, wire.Releasing):
            self.stage = "releasing"
        elif isinstance(message, wire.Failed):
            self.stage = "idle"

    def handover(self, request: wire.Acquire, child: int) -> wire.Acquire | wire.Adopt:
        """Give what to tell a successor; `child` is the process that the front has inherited, 0 if there is none."""
        if self.stage == "idle":
            return request
        return wire.Adopt(
            acquire=request,
            stage=self.stage,
            lock_id=self.lock_id,
            beat=self.beat,
            base=self.base,
            token=self.token,
            child=child,
        )
