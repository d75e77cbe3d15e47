"""
Waiting for a lock: look, rest, look again, until it is ours or time is up.

`Waiter.look` and `Waiter.pause` are the whole of it, on any clock; `Waiter.wait` repeats them on the real one.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence

import tenacity

from tfguard import errors
from tfguard.clock import Clock, created
from tfguard.lock import protocol, refusals
from tfguard.lock.acquire import Acquirer, Busy, Draft
from tfguard.lock.lease import HeldLock
from tfguard.lock.lockinfo import LockInfo, new_lock_id
from tfguard.lock.queue import Queue
from tfguard.lock.queue_record import Ticket
from tfguard.lock.store import Store, Watchable
from tfguard.lock.turn import Turn

#: Without an answer the pause doubles from the first to the second, in seconds, with full jitter.
_BACKOFF_SECONDS = (0.5, 20.0)
#: Who is woken by the store looks this often all the same, in seconds: for heartbeats, and for its place in the line.
_WATCH_SECONDS = 2.0
#: A store that wakes us so often without a full rest in between does not know how to.
_VAIN_WAKES = 20
#: A look this close to the deadline, in seconds, is the last.
_LAST_SECONDS = 0.05


class Failure(Exception):
    """We end without the lock, and `why`."""

    def __init__(self, why: refusals.Refusal) -> None:
        super().__init__(type(why).__name__)
        self.why = why


class Waiter:
    """
    One request for one lock. `post` and `tell` as in `session`; `cancel` ends the wait at once.

    After `wait` or `look` has given the lock, `gone` names the tickets that leave the line with it.
    """

    def __init__(
        self,
        request: protocol.LockRequest,
        stores: Sequence[Store],
        clock: Clock,
        queue: Queue,
        *,
        post: Callable[[protocol.Word], None],
        tell: Callable[[protocol.Word], None],
        cancel: threading.Event,
        adopt: protocol.Adoption | None = None,
    ) -> None:
        self._request = request
        self._clock = clock
        self._post = post
        self._cancel = cancel
        self._failures = 0
        self._watched = stores[0] if len(stores) == 1 and isinstance(stores[0], Watchable) else None
        self._wakes = 0
        self._started_at = clock.boottime()
        ticket = Ticket(id=request.ticket or new_lock_id(), holder=request.holder, since=created(clock.now()))
        self._line = Turn(queue, ticket, clock, request.terms.order)
        self._acquirer = Acquirer(
            stores,
            _draft(request),
            clock,
            policy=request.terms.takeover,
            on_trying=lambda lock_id, base: tell(protocol.Trying(lock_id=lock_id, base=base)),
            may_try=lambda: self._line.may_try(is_last=self._remaining() <= _LAST_SECONDS),
        )
        if adopt is not None:
            self._acquirer.recall(adopt.lock_id, adopt.base)

    def wait(self) -> HeldLock:
        """
        Take the lock, or raise.

        Raises:
            Busy: Somebody else holds it, and time is up.

            Failure: Interrupted; or its holder is dead, and our policy forbids to take it over.

            StoreUnavailable, StoreDenied, StoreMisconfigured: As the store says.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((Busy, errors.StoreUnavailable)),
            stop=lambda _: self._remaining() <= 0,
            wait=lambda state: self.pause(_error_of(state)),
            sleep=self._rest,
            before_sleep=lambda state: self._say_waiting(_error_of(state)),
            reraise=True,
        )
        try:
            lock = retrying(self.look)
            prove(lock)
        except BaseException:
            self.give_up()
            raise
        return lock

    @property
    def gone(self) -> tuple[str, ...]:
        return self._line.leaving

    def give_up(self) -> None:
        """Clear away what a write may have left behind, and leave the line."""
        with contextlib.suppress(errors.TfguardError):
            self._acquirer.withdraw()
        self._line.leave()

    def look(self) -> HeldLock:
        """Look once, and take the lock if it can be had and it is our turn. Raises as `wait` does."""
        if self._cancel.is_set():
            raise Failure(refusals.Interrupted())
        try:
            lock = self._acquirer.try_acquire()
        except Busy as busy:
            self._failures = 0
            if busy.is_expired and busy.record:
                raise Failure(refusals.TakeoverRefused(record=busy.record)) from busy
            if not busy.is_free:
                self._line.see_busy(busy.record.text if busy.record else "")
            raise
        except errors.StoreUnavailable as error:
            self._failures += 1
            self._line.see_nothing(error)
            raise
        if self._cancel.is_set():
            lock.release()
            raise Failure(refusals.Interrupted())
        return lock

    def pause(self, error: BaseException | None) -> float:
        """Seconds to rest after a look that ended so; the last look falls on the deadline."""
        pause = self._line.pause()
        if isinstance(error, errors.StoreUnavailable):
            first, longest = _BACKOFF_SECONDS
            pause = random.uniform(0, min(longest, first * 2 ** min(self._failures, 10)))
        elif self._is_watching:
            pause = max(pause, min(_WATCH_SECONDS, self._expires_in()))
        return max(0.0, min(pause, self._remaining()))

    @property
    def _is_watching(self) -> bool:
        """Whether the store wakes us: it can, the last look showed the lock held, and we are the next."""
        return self._watched is not None and self._line.is_next and self._acquirer.watches[0].record is not None

    def _rest(self, seconds: float) -> None:
        """Rest so long, or until the store says that the lock's holder has changed, or we are cancelled."""
        if self._watched is None or not self._is_watching or self._failures:
            self._cancel.wait(seconds)
            return
        started_at = self._clock.boottime()
        try:
            self._watched.await_change(seconds, self._cancel.is_set)
        except errors.TfguardError:
            self._cancel.wait(self._line.pause())
        is_early = self._clock.boottime() - started_at < seconds / 2
        self._wakes = self._wakes + 1 if is_early else 0
        if self._wakes >= _VAIN_WAKES:
            self._watched = None

    def _expires_in(self) -> float:
        now = self._clock.boottime()
        return max((each.expires_in(now) for each in self._acquirer.watches if each.record), default=float("inf"))

    def _remaining(self) -> float:
        return self._request.terms.timeout_seconds - (self._clock.boottime() - self._started_at)

    def _say_waiting(self, error: BaseException | None) -> None:
        watches = self._acquirer.watches
        watch = next((watch for watch in watches if watch.record), watches[0])
        now = self._clock.boottime()
        record = error.record if isinstance(error, Busy) else watch.record
        # Of a lock that stands beside the one we watch we know no more than whose it is.
        is_beside = record is not None and watch.record is not None and record.id != watch.record.id
        expires_in = float("inf") if is_beside else self._expires_in()
        self._post(
            protocol.Waiting(
                record=record,
                seen_seconds=now - watch.since if watch.record and not is_beside else 0.0,
                expires_in_seconds=None if expires_in == float("inf") else expires_in,
                remaining_seconds=max(0.0, self._remaining()),
                trouble=str(error) if isinstance(error, errors.TfguardError) else "",
                is_free=isinstance(error, Busy) and error.is_free,
                place=self._line.rank + 1 if self._line.has_place else 0,
                length=self._line.length,
                usual_seconds=self._line.usual_seconds,
            )
        )


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def check_workspace(surroundings: protocol.Surroundings) -> None:
    """Raise Failure if the workspace is missing: Terraform would create it under a lock of its own, against ours."""
    try:
        exists = surroundings.workspace_exists()
    except errors.StoreDenied as error:
        if error.is_expired:
            raise
        unlisted = refusals.Unlisted(message=str(error), action=error.action, resource=error.resource)
        raise Failure(unlisted) from error
    if not exists:
        raise Failure(refusals.NoWorkspace())


def _draft(request: protocol.LockRequest) -> Draft:
    return Draft(
        info=LockInfo(
            id="",
            operation=request.operation,
            info=request.info,
            who=request.who,
            version=request.version,
            path=request.path,
        ),
        holder=request.holder,
        duration_ms=round(request.terms.lease_seconds * 1000),
        is_changing=request.is_changing,
    )


def prove(lock: HeldLock) -> None:
    """A server that ignores conditions would hand one lock to two: refuse to trust it."""
    for lease in lock.leases:
        try:
            lease.store.prove_conditional(lease.record)
        except BaseException:
            lock.release()
            raise
