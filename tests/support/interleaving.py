"""Every order in which the requests of several clients can reach one server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: A client: what it does, given what it is to call before each of its requests.
Client = Callable[[Callable[[], None]], object]


class _Turns:
    """Lets one thread go on at a time, from request to request."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._changed = threading.Condition()
        self._whose: int | None = None
        self.waiting: set[int] = set()
        self.results: list[Any] = [None] * len(clients)
        self._alive = set(range(len(clients)))
        self._threads = [
            threading.Thread(target=self._run, args=(number, client), daemon=True)
            for number, client in enumerate(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._settle()

    def step(self, number: int) -> None:
        """Let this one make its request, and go on to its next or to its end."""
        with self._changed:
            self.waiting.discard(number)
            self._whose = number
            self._changed.notify_all()
        self._settle()

    def _settle(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._whose is None and self.waiting == self._alive, 60)

    def _run(self, number: int, client: Client) -> None:
        self.results[number] = client(lambda: self._await_turn(number))
        with self._changed:
            self._alive.discard(number)
            self._whose = None
            self._changed.notify_all()

    def _await_turn(self, number: int) -> None:
        with self._changed:
            self.waiting.add(number)
            if self._whose == number:
                self._whose = None
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._whose == number, 60)


def every_order(begin: Callable[[], tuple[Sequence[Client], Any]]) -> Iterator[tuple[list[int], list[Any], Any]]:
    """
    Play each order once. `begin` makes a world and its clients anew, each time the same.

    Yields whose request came when, what each client returned, and the world as it is then.
    """
    prefixes: list[list[int]] = [[]]
    while prefixes:
        prefix = prefixes.pop()
        clients, world = begin()
        turns = _Turns(clients)
        turns.start()
        order: list[int] = []
        while turns.waiting:
            if len(order) < len(prefix):
                chosen = prefix[len(order)]
            else:
                chosen, *others = sorted(turns.waiting)
                prefixes += [[*order, other] for other in others]
            turns.step(chosen)
            order.append(chosen)
        yield order, turns.results, world
