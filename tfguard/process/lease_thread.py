"""
The keeper's thread that talks to the stores: it opens them, with the run's own credentials, and serves a `LockSession`.

A request that hangs delays a heartbeat, never a deadline: those are the main thread's.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from tfguard.backends import open_store
from tfguard.backends.target import LocalSpec, StoreSpec
from tfguard.clock import SystemClock
from tfguard.guard import messages
from tfguard.lock.session import LockSession
from tfguard.lock.store import Store


class LeaseThread(threading.Thread):
    """
    Serves one lock's session, to which the main thread talks. `post` and `tell` as there; a defect is posted too.

    `lock_fd` is the descriptor of a local lock that a predecessor left to us, -1 if there is none.
    """

    def __init__(
        self,
        request: messages.Acquire,
        *,
        post: Callable[[Any], None],
        tell: Callable[[Any], None],
        adopt: messages.Adopt | None = None,
        lock_fd: int = -1,
    ) -> None:
        super().__init__(name="lease", daemon=True)
        self.session = LockSession(request, SystemClock(), post=post, tell=tell, adopt=adopt)
        self._request = request
        self._post = post
        self._lock_fd = lock_fd

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._request.environ)
        try:
            self.session.run(functools.partial(self._open, spec) for spec in self._request.target.stores)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody beats any more
            self._post(error)

    def _open(self, spec: StoreSpec) -> Store:
        if self._lock_fd >= 0 and isinstance(spec, LocalSpec):
            return _adopt_local(spec, self._lock_fd)
        return open_store(spec)


def _adopt_local(spec: LocalSpec, descriptor: int) -> Store:
    from tfguard.backends.local import LocalStore

    return LocalStore.adopt(spec, descriptor)
