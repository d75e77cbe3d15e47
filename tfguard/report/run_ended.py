"""How a run ended: the one struct that its log line, its page, its reports and our own exit status are made of."""

from __future__ import annotations

from typing import Any

import msgspec

from tfguard.errors import Outcome


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    """
    Times in seconds, None where they are not known. `signal` ended it, 0 if none did.

    Of the lock: `lock` is its path, empty for a run that needed none; `lock_id` and `token` are empty where it was
    never held; `force_unlock_id` as in `LockRecord`; `release` says how it was given back.
    """

    label: str
    outcome: Outcome
    exit_code: int
    signal: int = 0
    lock: str = ""
    lock_id: str = ""
    force_unlock_id: str = ""
    token: int = 0
    waited_seconds: float | None = None
    held_seconds: float | None = None
    heartbeats: int = 0
    release: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell of it: it has done what it should, and its lock is free again."""
        return self.outcome is Outcome.SUCCEEDED and self.release in ("", "released")

    def as_event(self) -> dict[str, Any]:
        """Return the facts of the line `run.finished`, under the keys that logs have."""
        facts: dict[str, Any] = {"label": self.label}
        if self.lock:
            facts |= {
                "lock": self.lock,
                "lock_id": self.lock_id or None,
                "token": self.token or None,
                "waited_s": self.waited_seconds,
                "held_s": self.held_seconds,
                "heartbeats": self.heartbeats,
            }
        if self.force_unlock_id:
            facts["force_unlock_id"] = self.force_unlock_id
        if self.release:
            facts["release"] = self.release
        return {**facts, "outcome": self.outcome.value, "exit_code": self.exit_code}
