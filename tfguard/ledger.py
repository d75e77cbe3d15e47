"""
The queue record of one lock, as one run reads and changes it: token, history, and later the line.

Advisory throughout: nothing in here raises, and whatever goes wrong costs a number or a line of history, never the
lock.
"""

from __future__ import annotations

from collections.abc import Callable

from tfguard import errors
from tfguard.queue import QueueState, Run, decode, encode
from tfguard.store import QueueRecord, Store

#: The queue record is contended by nobody for long; after this many conflicts it is left alone.
_TRIES = 4


class Ledger:
    """The queue record, changed by compare and swap. Used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count_acquisition(self, at_least: int) -> int:
        """Count one more acquisition, above `at_least`, and give its number; 0 where it cannot be written."""
        state = self.change(lambda state: state.with_token(at_least))
        return state.token if state else 0

    def write_run(self, run: Run) -> None:
        """Add a run to the history."""
        self.change(lambda state: state.with_run(run))

    def change(self, change: Callable[[QueueState], QueueState]) -> QueueState | None:
        """Read, change, write if unchanged; None where the record cannot be had."""
        for _ in range(_TRIES):
            try:
                seen = self._store.read_queue()
                state = change(decode(seen.text) if seen else QueueState())
                revision = (seen.revision if seen else 0) + 1
                self._store.write_queue(seen, QueueRecord(text=encode(state), revision=revision))
                return state
            except errors.Conflict:
                continue
            except errors.TfguardError:
                return None
        return None
