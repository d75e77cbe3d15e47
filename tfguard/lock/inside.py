"""
A run inside another tfguard: under the lock that the one around it holds, and one at a time with others there.

Beside these two, nothing keeps two runs from one state: our parent's lock keeps others out, not its children from one
another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tfguard.clock import Clock, boot_id
from tfguard.lock import protocol, refusals
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.store import LockRecord, Store
from tfguard.lock.waiting import Failure

#: How often one looks whether it is one's turn.
LOOK_SECONDS = 0.25


class Inside:
    """One request to run inside. `nest` None: turns are not taken here. `post`, `cancel` as in `waiting`."""

    def __init__(
        self,
        request: protocol.LockRequest,
        stores: Sequence[Store],
        clock: Clock,
        nest: protocol.Nest | None,
        *,
        post: Callable[[protocol.Word], None],
        cancel: threading.Event,
    ) -> None:
        self._request = request
        self._stores = stores
        self._clock = clock
        self._nest = nest
        self._post = post
        self._cancel = cancel
        self._started_at = clock.boottime()

    def enter(self) -> LockRecord | None:
        """
        Wait for our turn, up to the timeout; return the lock that our parent holds, None if it does not hold this one.

        Raises:
            Failure: Our turn has not come in time, or somebody asks to stop.

            StoreUnavailable, StoreDenied, StoreMisconfigured: As the store says, or the nest.
        """
        if self._find_outer() is None:
            return None
        if self._nest is None:
            return self._find_outer()
        self._wait_for_turn(self._nest)
        outer = self._find_outer()  # Again: it may have been lost meanwhile.
        if outer is None:
            self._nest.leave()
        return outer

    def _wait_for_turn(self, nest: protocol.Nest) -> None:
        while not nest.try_enter():
            left = self._request.terms.timeout_seconds - (self._clock.boottime() - self._started_at)
            if self._cancel.is_set():
                raise Failure(refusals.Interrupted())
            if left <= 0:
                ahead = nest.ahead or protocol.Sibling(who="", command="", pid=0)
                raise Failure(refusals.NotOurTurn(who=ahead.who, command=ahead.command, pid=ahead.pid))
            self._post(
                protocol.Waiting(
                    record=None,
                    seen_seconds=0.0,
                    expires_in_seconds=None,
                    remaining_seconds=left,
                    is_inside=True,
                    ahead=nest.ahead,
                )
            )
            self._cancel.wait(min(LOOK_SECONDS, left))

    def _find_outer(self) -> LockRecord | None:
        """Return the lock that our parent holds, if it is this very one, with a live lease."""
        wanted = self._request.nested_id
        if not wanted:
            return None
        records = [(store, store.read()) for store in self._stores]
        if not all(record and record.id == wanted and self._is_live(store, record) for store, record in records):
            return None
        return records[0][1]

    def _is_live(self, store: Store, record: LockRecord) -> bool:
        if record.lease is None:
            return store.needs_guard or all(not each.has_leases for each in self._stores)
        silence = self._clock.boottime() - record.lease.sent
        deadlines = Deadlines.of(record.lease.seconds)
        return record.lease.boot == boot_id() and silence < deadlines.interrupt
