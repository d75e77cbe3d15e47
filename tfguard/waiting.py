"""
Waiting for a lock: look, rest, look again, until it is ours or time is up.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tenacity

from tfguard import errors, wire
from tfguard.clock import Clock
from tfguard.deadlines import jittered
from tfguard.lease import Acquirer, Busy, Draft, HeldLock
from tfguard.lockinfo import LockInfo
from tfguard.store import LockRecord, Store

#: How long a waiter rests between two looks at a busy lock, in seconds.
LOOK_SECONDS = 0.5


class Failure(Exception):
    """We end without the lock. `kind` as in `wire.Failed`."""

    def __init__(self, kind: str, message: str = "", record: LockRecord | None = None) -> None:
        super().__init__(message or kind)
        self.kind = kind
        self.message = message
        self.record = record


class Waiter:
    """One request for one lock. `post` and `tell` as in `worker`; `cancel` ends the wait at once."""

    def __init__(
        self,
        request: wire.Acquire,
        stores: Sequence[Store],
        clock: Clock,
        *,
        post: Callable[[Any], None],
        tell: Callable[[Any], None],
        cancel: threading.Event,
        adopt: wire.Adopt | None = None,
    ) -> None:
        self._request = request
        self._clock = clock
        self._post = post
        self._cancel = cancel
        self._acquirer = Acquirer(
            stores,
            _draft(request),
            clock,
            policy=request.takeover,
            on_trying=lambda lock_id, base: tell(wire.Trying(lock_id=lock_id, base=base)),
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
            stop=tenacity.stop_after_delay(self._request.timeout_seconds),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._cancel),
            before_sleep=self._say_waiting,
            reraise=True,
        )
        try:
            lock = retrying(self._attempt)
            _prove(lock)
        except BaseException:
            with contextlib.suppress(errors.TfguardError):
                self._acquirer.withdraw()
            raise
        return lock

    def _attempt(self) -> HeldLock:
        if self._cancel.is_set():
            raise Failure("interrupted")
        try:
            lock = self._acquirer.try_acquire()
        except Busy as busy:
            if busy.is_expired and busy.record:
                raise Failure("takeover-refused", record=busy.record) from busy
            raise
        if self._cancel.is_set():
            lock.release()
            raise Failure("interrupted")
        return lock

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Rest between looks, so that the last look falls on the deadline."""
        error = state.outcome.exception() if state.outcome else None
        pause = jittered(LOOK_SECONDS)
        if isinstance(error, errors.StoreUnavailable):
            pause = tenacity.wait_random_exponential(multiplier=0.5, max=20)(state)
        return max(0.0, min(pause, self._remaining(state)))

    def _remaining(self, state: tenacity.RetryCallState) -> float:
        return self._request.timeout_seconds - (state.seconds_since_start or 0.0)

    def _say_waiting(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        watches = self._acquirer.watches
        watch = next((watch for watch in watches if watch.record), watches[0])
        now = self._clock.boottime()
        expires_in = watch.expires_in(now)
        self._post(
            wire.Waiting(
                record=error.record if isinstance(error, Busy) else watch.record,
                seen_seconds=now - watch.since if watch.record else 0.0,
                expires_in_seconds=None if expires_in == float("inf") else expires_in,
                remaining_seconds=max(0.0, self._remaining(state)),
                trouble=str(error) if isinstance(error, errors.TfguardError) else "",
            )
        )


def check_workspace(request: wire.Acquire) -> None:
    """Raise Failure if the workspace is missing: Terraform would create it under a lock of its own, against ours."""
    probe = request.target.probe
    if probe is None:
        return
    from tfguard.stores.s3 import workspace_exists

    try:
        exists = workspace_exists(probe)
    except errors.StoreDenied as error:
        if error.is_expired:
            raise
        raise Failure("unlisted", str(error)) from error
    if not exists:
        raise Failure("no-workspace")


def _draft(request: wire.Acquire) -> Draft:
    return Draft(
        info=LockInfo(
            id="",
            operation=request.operation,
            info=request.info,
            who=request.who,
            version=request.version,
            path=request.target.path,
        ),
        holder=request.holder,
        duration_ms=round(request.lease_seconds * 1000),
        is_changing=request.is_changing,
    )


def _prove(lock: HeldLock) -> None:
    """A server that ignores conditions would hand one lock to two: refuse to trust it."""
    for lease in lock.leases:
        prove = getattr(lease.store, "prove_conditional", None)
        try:
            if prove is not None:
                prove(lease.record)
        except BaseException:
            lock.release()
            raise
