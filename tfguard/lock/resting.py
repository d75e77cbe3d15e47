"""What the thread that beats rests on, between one beat and the next, and what may end such a rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

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
    """The connections that carry the lock in some of its stores, one after another; most stores have none."""

    def __init__(self, stores: Iterable[Store]) -> None:
        self._stores = [store for store in stores if isinstance(store, Carried)]
        self._told = self._count()

    def on_end(self, tell: Callable[[], None], rest: Rest) -> None:
        """
        Whenever one of them has ended, call `tell` and let a rest end: nothing may be written until a beat has landed,
        and that is due now.
        """

        def hear() -> None:
            tell()
            rest.stir()

        for store in self._stores:
            store.on_end(hear)

    def is_another(self) -> bool:
        """Whether another carries the lock than when this was asked last: who keeps its descriptor keeps an old one."""
        before, self._told = self._told, self._count()
        return self._told != before

    def _count(self) -> int:
        return sum(store.carriers for store in self._stores)
