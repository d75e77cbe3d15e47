"""
The keeper's thread that talks to the stores: it opens them, with the run's own credentials, and serves a `LockSession`.

A request that hangs delays a heartbeat, never a deadline: those are the main thread's.
"""

from __future__ import annotations

import functools
import gc
import os
import threading
from collections.abc import Callable

from tfguard import threads
from tfguard.backends import open_store, state
from tfguard.backends.environ import replace_environment
from tfguard.backends.target import StoreSpec, Target
from tfguard.clock import SystemClock
from tfguard.guard import messages
from tfguard.lock import protocol
from tfguard.lock.session import LockSession
from tfguard.lock.store import Store
from tfguard.process.channel import KeeperEnd
from tfguard.process.nest import Nest
from tfguard.process.page import Page

#: A keeper that has not gone round its loop for this long enforces nothing, and is to claim nothing.
UNWATCHED_SECONDS = 5.0


class LeaseThread:
    """
    Serves one lock's session, to which the main thread talks. `post` and `tell` as there; a defect is posted too,
    whatever it is: nobody beats any more.

    `lock_fd` is the descriptor of a local lock, or of a place in a nest, that a predecessor left to us; -1: of none.
    """

    def __init__(
        self,
        request: messages.Acquire,
        *,
        post: Callable[[protocol.Word | BaseException], None],
        tell: Callable[[protocol.Word], None],
        is_watched: Callable[[], bool],
        adopt: protocol.Adoption | None = None,
        lock_fd: int = -1,
    ) -> None:
        is_nested = adopt is not None and adopt.is_nested
        self.session = LockSession(
            request.lock,
            SystemClock(),
            StateSurroundings(request.target),
            deadlines=request.deadlines(),
            post=post,
            tell=tell,
            is_watched=is_watched,
            adopt=adopt,
            nest=_nest_of(request.lock, lock_fd if is_nested else -1),
        )
        self._request = request
        self._post = post
        self._lock_fd = -1 if is_nested else lock_fd
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threads.start("lease", self._serve, on_defect=self._post)

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _serve(self) -> None:
        replace_environment(self._request.environ)
        self.session.run(functools.partial(self._open, spec) for spec in self._request.target.stores)

    def _open(self, spec: StoreSpec) -> Store:
        try:
            if self._lock_fd >= 0 and spec.has_descriptor:
                return spec.adopt(self._lock_fd)
            return open_store(spec)
        finally:  # All is imported now: what is left will live as long as we, and need not be looked at again.
            gc.freeze()
            gc.enable()


def _nest_of(request: protocol.LockRequest, descriptor: int) -> Nest | None:
    us = protocol.Sibling(who=request.holder.who, command=request.holder.command, pid=os.getppid())
    return Nest(request.nest, us, descriptor) if request.nest else None


class StateSurroundings:
    """The `Surroundings` of a state's lock: what its backend says when it is asked."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def workspace_exists(self) -> bool:
        return self._target.probe is None or state.workspace_exists(self._target.probe)

    def digest_mismatch(self) -> protocol.DigestDiffers | None:
        found = state.mismatch(self._target)
        if found is None:
            return None
        return protocol.DigestDiffers(table=found.table, item=found.item, stored=found.stored, actual=found.actual)

    def keep_copy(self, path: str, lock_id: str) -> str:
        return state.keep_copy(self._target, path, lock_id)

    def is_there(self, place: str) -> bool:
        return state.is_there(self._target, place)


class Lease:
    """The thread from its start on, or that there is none yet: the `LeasePort` of the keeper."""

    def __init__(self, channel: KeeperEnd, page: Page, post: Callable[[protocol.Word | BaseException], None]) -> None:
        self._channel = channel
        self._page = page
        self._post = post
        self._thread: LeaseThread | None = None

    @property
    def local_fd(self) -> int:
        """The descriptor that carries a local lock, or a place in a nest; -1 if there is none."""
        return self._thread.session.local_fd if self._thread is not None else -1

    def start(self, request: messages.Acquire, adoption: protocol.Adoption | None) -> None:
        descriptors = self._channel.take_descriptors(1) if adoption else []
        if adoption is None:
            self._page.safe_until = float("inf")  # What stands there is of the lock before this one.
        self._thread = LeaseThread(
            request,
            post=self._post,
            tell=self._channel.send,
            is_watched=self._is_watched,
            adopt=adoption,
            lock_fd=descriptors[0] if descriptors else -1,
        )
        self._thread.start()

    def _is_watched(self) -> bool:
        return SystemClock().boottime() - self._page.keeper_seen < UNWATCHED_SECONDS

    def is_served(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def cancel_wait(self) -> None:
        self._session.cancel()

    def release(self, message: protocol.Release, *, errored: str = "", error: str = "") -> None:
        self._session.release(message, errored=errored, error=error)

    def abandon(self) -> None:
        self._session.abandon()

    def free_inner(self) -> None:
        """Free what the program that has ended has left locked by itself."""
        self._session.free_inner()

    @property
    def _session(self) -> LockSession:
        assert self._thread is not None
        return self._thread.session
