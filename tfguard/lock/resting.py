"""What the thread that beats rests on, between one beat and the next."""

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

    def stir_at_end_of(self, stores: Iterable[Store], tell: Callable[[], None]) -> None:
        """
        Let a rest end whenever what carries the lock of one of the stores has ended, after `tell`: nothing may be
        written until a beat has landed, and that is due now.
        """

        def hear() -> None:
            tell()
            self.stir()

        for store in stores:
            if isinstance(store, Carried):
                store.on_end(hear)

    def end(self) -> None:
        """There is no rest from now on."""
        self._is_over = True
        self._event.set()
