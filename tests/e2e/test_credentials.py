"""Credentials that expire in mid-run are an outage, not a theft."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import GATED, Stage
from tests.e2e.refusing import refusing
from tests.e2e.running import running
from tests.eventually import eventually

pytestmark = pytest.mark.e2e


def test_expired_credentials_are_waited_out_and_never_taken_for_a_loss(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=GATED, is_initialised=False)
    with refusing(made.endpoints["dynamodb"]) as between:
        made.endpoints["dynamodb"] = between.endpoint
        made.write(GATED)
        made.init()
        with running(made.start_tfguard("apply", "-auto-approve", "-input=false", TFGUARD_LOCK_LEASE="30s")) as ours:
            ours.wait_for_work(made)
            denied: list[str] = []
            between.reason = "ExpiredTokenException"
            between.refuse = lambda method, path, action: denied.append(action) or True
            ours.wait_for("no heartbeat")
            last = _beats(made)
            between.refuse = lambda method, path, action: False
            eventually(lambda: _beats(made) > last, 30, "heartbeats again")
            made.open_gate()
            result = ours.end()

    assert denied
    assert result.code == 0, str(result)
    assert "Interrupt received" not in result.out
    assert "lost" not in result.err
    assert made.leftovers() == []


def _beats(made: Stage) -> int:
    item = made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")
    return int(item["TfguardBeat"]["N"]) if item else 0
