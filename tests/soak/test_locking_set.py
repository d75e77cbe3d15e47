"""
The locking set under kills, pauses and a store that comes and goes: no acknowledged element is ever missing.

Short here; `TFGUARD_SET_SECONDS=600` is the long form, and `TFGUARD_SEED` repeats the nemesis's choices. With
`TFGUARD_SET_STORES=dynamodb,consul` it is played on both.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Consul, DynamoDB
from tests.e2e.conftest import base_environ
from tests.soak.locking_set import Game, play

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("TFGUARD_SET_SECONDS", "30"))
SEED = int(os.environ.get("TFGUARD_SEED", "0")) or random.randrange(1, 10**6)
STORES = os.environ.get("TFGUARD_SET_STORES", "dynamodb").split(",")
CLIENTS = 6
ENOUGH = SECONDS / 10
#: Done; the store is away; the line was too long; lost; killed with the front; ended by the signal of a dead keeper.
EXPECTED_CODES = {0, 69, 75, 76, 130, -2, -9}


def on_dynamodb(server: DynamoDB, folder: Path, environ: dict[str, str]) -> Game:
    table = server.table()
    return Game(folder, server.endpoint, lambda at: f"dynamodb://{table}?region=us-east-1&endpoint={at}", environ)


def on_consul(server: Consul, folder: Path, environ: dict[str, str]) -> Game:
    path = server.path()
    return Game(folder, server.endpoint, lambda at: f"consul://{at.removeprefix('http://')}/{path}", environ)


PLACES = {"dynamodb": on_dynamodb, "consul": on_consul}


@pytest.mark.parametrize("store", STORES)
def test_no_acknowledged_element_is_lost_whatever_is_killed_stopped_or_cut(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    print(f"TFGUARD_SEED={SEED}")
    place: Any = PLACES[store]
    game = place(request.getfixturevalue(store), folder, base_environ(tmp_path))

    figures = play(game, clients=CLIENTS, seconds=SECONDS, seed=SEED, enough=ENOUGH)

    print(f"figures: locking set on {store}: {SECONDS:.0f} s, {figures}")
    assert figures.lost == [], figures
    assert figures.strangers == [], figures
    assert figures.overlaps == [], figures
    assert figures.stale_tokens == [], figures
    assert set(figures.codes) <= EXPECTED_CODES, figures.codes
    assert figures.acknowledged >= ENOUGH, figures
