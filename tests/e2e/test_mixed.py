"""
Plain Terraforms and tfguards on one state, each in its own way: nobody overlaps, everybody gets in.

Short here; `TFGUARD_MIXED_SECONDS=300` is the long form.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.test_chaos import WORK
from tests.support.eventually import patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("TFGUARD_MIXED_SECONDS", "5"))
APPLY = ("apply", "-auto-approve", "-no-color")


class Client(threading.Thread):
    """Applies again and again until time is up."""

    def __init__(self, apply: Callable[[], int], until: float) -> None:
        super().__init__(daemon=True)
        self.codes: list[int] = []
        self._apply = apply
        self._until = until

    def run(self) -> None:
        while time.monotonic() < self._until:
            self.codes.append(self._apply())


@pytest.mark.parametrize("backend", ["dynamodb", "both"])
def test_plain_terraforms_barge_in_and_nobody_is_hurt(stage: Callable[..., Stage], backend: str) -> None:
    made = stage(backend, text=WORK)
    until = time.monotonic() + SECONDS
    guards = [Client(lambda: made.tfguard(*APPLY).code, until) for _ in range(3)]
    plains = [Client(lambda: made.terraform(*APPLY, "-lock-timeout=10m").code, until) for _ in range(2)]

    for client in (*guards, *plains):
        client.start()
    for client in (*guards, *plains):
        client.join(timeout=SECONDS + patience(60))

    log = (made.path / "log").read_text()
    done = sum(client.codes.count(0) for client in (*guards, *plains))
    tried = [sum(len(client.codes) for client in clients) for clients in (guards, plains)]
    print(f"figures: mixed: {SECONDS:.0f} s on {backend}: {tried[0]} applies by tfguard, {tried[1]} plain, {done} good")
    assert "OVERLAP" not in log
    assert all(client.codes and set(client.codes) == {0} for client in guards), [client.codes for client in guards]
    # A plain Terraform may lose the race that its own locking has (`facts`: released between its write and its read).
    assert sum(client.codes.count(0) for client in plains) >= 1
    assert (made.state() or {})["serial"] >= done
    assert made.leftovers() == []
    assert made.wrong_digests() == []
