"""What the thread that beats rests on, between one beat and the next, and what may end such a rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from tfguard.clock import Clock
from tfguard.lock import protocol
from tfguard.lock.store import Carried, Store


class Rest:
    """Rest, until it is over for good. `event` goes by the clock that counts."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self._is_over = False

    def wait(self, seconds: float | None) -> bool:
        """Rest so long, or until somebody stirs us; return whether it is over."""
        self._event.wait(seconds)
        if not self._is_over:
            self._event.clear()  # Whoever ended it meanwhile has said so before he set it.
        return self._is_over

    def stir(self) -> None:
        """Let one rest end now."""
        self._event.set()

    def end(self) -> None:
        """There is no rest from now on."""
        self._is_over = True
        self._event.set()


class Carriers:
    """
    The connections that carry the lock in some of its stores, one after another; most stores have none.

    `post` is told when one of them has ended, from a thread of its own; then `rest` ends.
    """

    def __init__(
        self, stores: Iterable[Store], rest: Rest, clock: Clock, post: Callable[[protocol.Doubted], None]
    ) -> None:
        self._stores = [store for store in stores if isinstance(store, Carried)]
        self._rest = rest
        self._clock = clock
        self._post = post
        self._told = self._count()
        self._is_heard = False

    def listen(self) -> None:
        """
        Hear from now on when one of them has ended: nothing may be written until a beat has landed, and that is due
        then. Once is enough.
        """
        if not self._is_heard:
            self._is_heard = True
            for store in self._stores:
                store.on_end(self._hear)

    def _hear(self) -> None:
        self._post(protocol.Doubted(at=self._clock.boottime()))
        self._rest.stir()

    def is_another(self) -> bool:
        """Whether another carries the lock than when this was asked last: who keeps its descriptor keeps an old one."""
        before, self._told = self._told, self._count()
        return self._told != before

    def has_state_changed(self) -> bool:
        """As of a `Carried` store, of any of them."""
        return any(store.has_state_changed for store in self._stores)

    def _count(self) -> int:
        return sum(store.carriers for store in self._stores)
