"""
The keeper's thread that talks to the stores: it opens them, with the run's own credentials, and serves a `Tenure`.

A request that hangs delays a heartbeat, never a deadline: those are the main thread's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tfguard import wire
from tfguard.clock import SystemClock
from tfguard.deadlines import RETRY_SECONDS, jittered
from tfguard.errors import TfguardError
from tfguard.store import LocalSpec, Store, StoreSpec
from tfguard.stores import open_store
from tfguard.tenure import Tenure


class LeaseWorker(threading.Thread):
    """
    Serves one tenure, which the main thread talks to. `post` and `tell` as there; a defect is posted as the exception.

    `lock_fd` is the descriptor of a local lock that a predecessor left to us, -1 if there is none.
    """

    def __init__(
        self,
        request: wire.Acquire,
        *,
        post: Callable[[Any], None],
        tell: Callable[[Any], None],
        adopt: wire.Adopt | None = None,
        lock_fd: int = -1,
    ) -> None:
        super().__init__(name="lease", daemon=True)
        self._clock = SystemClock()
        self.tenure = Tenure(request, self._clock, post=post, tell=tell, adopt=adopt)
        self._request = request
        self._adopt = adopt
        self._post = post
        self._lock_fd = lock_fd

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._request.environ)
        try:
            self.tenure.run(self._open_stores())
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody beats any more
            self._post(error)

    def _open_stores(self) -> Iterator[Store]:
        for spec in self._request.target.stores:
            if self._lock_fd >= 0 and isinstance(spec, LocalSpec):
                yield _adopt_local(spec, self._lock_fd)
            elif self._adopt is not None and self._adopt.stage != "trying":
                yield self._open_until_opened(spec, self._adopt)
            else:
                yield open_store(spec)

    def _open_until_opened(self, spec: StoreSpec, adopt: wire.Adopt) -> Store:
        """
        Open the store of a lock that is held, again and again: its credentials were good before, and may be again.

        Given up when the lease has run out, for others may take the lock over then.
        """
        while True:
            try:
                return open_store(spec)
            except TfguardError as error:
                if self._clock.boottime() > adopt.base + self._request.lease_seconds:
                    raise
                self._post(wire.Told(event="lease.warned", error=str(error)))
                self._clock.sleep(jittered(RETRY_SECONDS))


def _adopt_local(spec: LocalSpec, descriptor: int) -> Store:
    from tfguard.stores.local import LocalStore

    return LocalStore.adopt(spec, descriptor)
