"""
The queue record of one lock, as one run reads and changes it.

Advisory throughout: nothing in here raises, and whatever goes wrong costs a place in line, a token or a line of
history, never the lock. The table carries everybody's heartbeats, often at one unit a second: a run that is
throttled (`is_throttled`) leaves out for a while what it would write over and over (`turn`), not what it writes once.
A run that is denied stops for good.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tfguard import errors
from tfguard.clock import Clock
from tfguard.lock.queue_record import QueueState, Run, decode, encode
from tfguard.lock.store import MAX_COUNT, QueueRecord, Store

#: After this many conflicts in a row a change is left for later.
_TRIES = 8
#: The pause after a conflict grows by this much with each, in seconds, with full jitter.
_AGAIN_SECONDS = 0.02
#: How long we are quiet after the store has throttled us, in seconds.
THROTTLED_SECONDS = 30.0


class Queue:
    """
    The queue record, changed by compare and swap. Used by one thread.

    `is_off`: the store has refused us this record, so for this run there is no line, no token and no history.
    `leaves_none`: where there is no record, none is written for a token and a line of history alone. So a run that
    changes nothing, and waits for nobody, leaves nothing behind.
    """

    def __init__(
        self, store: Store, clock: Clock, pause: Callable[[float], object], *, leaves_none: bool = False
    ) -> None:
        self.is_off = False
        self._leaves_none = leaves_none
        self._store = store
        self._clock = clock
        self._pause = pause
        self._seen: QueueRecord | None = None
        self._is_known = False
        self._throttled_until = float("-inf")

    @property
    def is_throttled(self) -> bool:
        """Whether the store has told us, lately, that it has too much to do."""
        return self._clock.boottime() < self._throttled_until

    def note(self, error: BaseException | None) -> None:
        """Hear of an error, from here or from the lock record: throttling makes us quiet, a refusal silent."""
        if isinstance(error, errors.StoreUnavailable) and error.is_throttled:
            self._throttled_until = self._clock.boottime() + THROTTLED_SECONDS

    def read(self) -> QueueState | None:
        """Return what the record says; None where it cannot be had."""
        if self.is_off:
            return None
        try:
            return self._read()
        except errors.TfguardError as error:
            self._failed(error)
            return None

    def change(self, change: Callable[[QueueState], QueueState]) -> QueueState | None:
        """
        Write `change` of what the record says, and return it; None where that could not be done, or not known.

        Starts from what was last read or written here: if somebody else has written since, that one is refused and
        the record is read. A change that changes nothing is not written.
        """
        if self.is_off:
            return None
        for conflicts in range(_TRIES):
            try:
                return self._try_change(change)
            except errors.Conflict:
                self._is_known = False
                self._pause(random.uniform(0, _AGAIN_SECONDS * conflicts))
            except errors.TfguardError as error:
                self._failed(error)
                return None
        return None

    def count_acquisition(self, at_least: int, gone: tuple[str, ...] = ()) -> int:
        """
        Count one more acquisition, above `at_least`, and return its number; 0 where it cannot be written, or counted.

        In the same write the tickets `gone` leave the line.
        """
        state = self.change(lambda state: state.without(gone).with_token(at_least))
        return state.token if state and state.token < MAX_COUNT else 0

    @property
    def errored(self) -> str:
        """Where a former run's unsaved state waits, by what was last read or written here; empty if there is none."""
        return self._state().errored if self._is_known else ""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The last runs, the newest last, by what was last read or written here."""
        return self._state().runs if self._is_known else ()

    def write_run(self, run: Run, *, ticket: str, is_errored_resolved: bool = False) -> None:
        """
        Add a run to the history; in the same write an unsaved state that it has pushed is forgotten.

        Its `ticket` leaves the line, should it have stayed there because the acquisition could not be counted.
        """

        def change(state: QueueState) -> QueueState:
            return (state.with_errored("") if is_errored_resolved else state).without([ticket]).with_run(run)

        self.change(change)

    def _read(self) -> QueueState:
        self._is_known = False
        self._seen = self._store.read_queue()
        self._is_known = True
        return self._state()

    def _state(self) -> QueueState:
        return decode(self._seen.text) if self._seen else QueueState()

    def _try_change(self, change: Callable[[QueueState], QueueState]) -> QueueState:
        before = self._state() if self._is_known else self._read()
        after = change(before)
        if self._seen is None and self._leaves_none and not (after.tickets or after.errored or after.token > 1):
            return before
        if after != before:
            seen, self._is_known = self._seen, False
            revision = (seen.revision if seen else 0) + 1
            self._seen = self._store.write_queue(seen, QueueRecord(text=encode(after), revision=revision))
            self._is_known = True
        return after

    def _failed(self, error: errors.TfguardError) -> None:
        self._is_known = False
        self.note(error)
        if isinstance(error, errors.StoreMisconfigured) or (
            isinstance(error, errors.StoreDenied) and not error.is_expired
        ):
            self.is_off = True
