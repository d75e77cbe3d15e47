"""
The queue record of a lock: the last fencing token and the last runs.

Advisory: a record that is missing, garbage or denied costs a token or a line of history, never exclusion. Pure:
text in, text out; `keeper` reads and writes it.
"""

from __future__ import annotations

import msgspec

from tfguard.store import Holder

#: How many runs are kept, small enough for one DynamoDB item together with the line.
KEPT_RUNS = 20
_MAX_CHARS = 200_000


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One past run of a lock. Durations in seconds; `ended_at` RFC 3339, for people.

    `unlocked_by`: an operator ended this run's hold by force, and why is in `reason`.
    """

    holder: Holder
    ended_at: str
    token: int = 0
    waited_s: float = 0.0
    held_s: float = 0.0
    outcome: str = ""
    exit_code: int | None = None
    took_over: str = ""
    lock_id: str = ""
    unlocked_by: str = ""
    reason: str = ""


class QueueState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the queue record says. `token` counts acquisitions and never goes down."""

    token: int = 0
    runs: tuple[Run, ...] = ()

    def with_token(self, at_least: int) -> QueueState:
        """Count one more acquisition, above every token seen."""
        return msgspec.structs.replace(self, token=max(self.token, at_least) + 1)

    def with_run(self, run: Run) -> QueueState:
        """Add a run to the history, dropping the oldest."""
        return msgspec.structs.replace(self, runs=(*self.runs, run)[-KEPT_RUNS:])


def decode(text: str) -> QueueState:
    """Read a queue record; garbage reads as an empty one."""
    if len(text) > _MAX_CHARS:
        return QueueState()
    try:
        return msgspec.json.decode(text, type=QueueState)
    except (msgspec.DecodeError, RecursionError):
        return QueueState()


def encode(state: QueueState) -> str:
    """Give the text to store."""
    return msgspec.json.encode(state).decode()
