"""
Whatever is stopped, continued and killed: nobody writes beside the next, and no cancel is lost.

Short here; `TFGUARD_TORTURE_SECONDS=1800` is the long form, and `TFGUARD_SEED` repeats the choices. With
`TFGUARD_TORTURE_STORES=dynamodb,consul` it is played on both.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.kinds import ConsulKind, DynamoDBKind
from tests.faults.proxy import fault_proxy
from tests.faults.scene import Scene
from tests.soak.torture import LEASE_SECONDS, play

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.emulator]

SECONDS = float(os.environ.get("TFGUARD_TORTURE_SECONDS", "10"))
SEED = int(os.environ.get("TFGUARD_SEED", "0")) or random.randrange(1, 10**6)
KINDS: dict[str, Callable[[Any], DynamoDBKind | ConsulKind]] = {"dynamodb": DynamoDBKind, "consul": ConsulKind}
STORES = os.environ.get("TFGUARD_TORTURE_STORES", "dynamodb").split(",")
LANES = 2
ROUND_SECONDS = 3 * LEASE_SECONDS


@pytest.fixture(params=STORES)
def scenes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Scene]]:
    """Make scenes, in any thread: each has a lock, a path to the store and a folder of its own."""
    alone = threading.Lock()
    server, made = request.getfixturevalue(request.param), KINDS[request.param]
    with contextlib.ExitStack() as opened:

        def make(name: str) -> Scene:
            (tmp_path / name).mkdir()
            with alone:
                kind = made(server)
                opened.callback(kind.close)
                proxy = opened.enter_context(fault_proxy(server.endpoint))
                scene = Scene(kind, proxy, tmp_path / name, LEASE_SECONDS)
                opened.callback(scene.close)
                return scene

        yield make


def test_under_torture_nobody_writes_beside_the_next_and_no_cancel_is_lost(scenes: Callable[[str], Scene]) -> None:
    print(f"TFGUARD_SEED={SEED}")

    figures = play(scenes, lanes=LANES, seconds=SECONDS, round_seconds=ROUND_SECONDS, seed=SEED)

    print(f"figures: torture: {SECONDS:.0f} s, {figures}")
    assert figures.overlaps == [], "\n".join(figures.overlaps)
    assert figures.lost_cancels == [], "\n".join(figures.lost_cancels)
    assert figures.doubled == [], "\n".join(figures.doubled)
    assert figures.hung == [], "\n".join(figures.hung)
