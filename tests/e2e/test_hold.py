"""A state held by hand: nobody comes in, until it is unlocked or its time is over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.conftest import Backend, Stage
from tests.e2e.operated import guarded
from tfguard.clock import created

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
REMOTE: tuple[Backend, ...] = ("dynamodb", "s3", "both")
#: Short: on a slow machine "did not wait" becomes "gave up after 12s", and a longer reason would be cut to make room.
REASON = "new subnets"


def held(made: Stage, duration: str = "1h") -> dict[str, Any]:
    result = made.tfguard("hold", "--reason", REASON, "--for", duration)
    assert result.code == 0, str(result)
    locks = made.locks()
    assert {lock["ID"] for lock in locks} == {locks[0]["ID"]}
    return locks[0]


@pytest.mark.parametrize("backend", REMOTE)
def test_a_hold_keeps_everybody_out_and_says_why(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    lock = held(made)
    plain = made.terraform("plan", "-lock-timeout=0s")
    ours = made.tfguard("--lock-timeout", "0s", "plan")
    shown = json.loads(made.tfguard("status", "--json").out)["locks"]

    assert plain.code == 1
    assert REASON in plain.err
    assert lock["ID"] in plain.err
    assert ours.code == 75, str(ours)
    assert REASON in ours.err
    assert len(shown) == (2 if backend == "both" else 1)
    assert all((each["verdict"], each["reason"]) == ("hold", REASON) for each in shown)


@pytest.mark.parametrize("backend", REMOTE)
def test_unlock_ends_a_hold_without_force(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    lock = held(made)

    result = made.tfguard("unlock", "--id", lock["ID"], "--yes")

    assert result.code == 0, str(result)
    assert made.locks() == []
    assert made.tfguard("plan").code == 0


def end_at(made: Stage, seconds_ago: float) -> None:
    """Write another end into the hold's records: nobody wants to wait for it."""
    lease = f'"hold_until":"{created(datetime.now(timezone.utc) - timedelta(seconds=seconds_ago))}"'
    if made.backend != "s3":
        key = f"{made.bucket}/{made.key}"
        item = made.dynamodb.item(made.table, key)
        item["TfguardLease"]["S"] = re.sub('"hold_until":"[^"]*"', lease, item["TfguardLease"]["S"])
        made.dynamodb.client.put_item(TableName=made.table, Item=item)
    if made.backend != "dynamodb":
        body = made.s3.body(made.bucket, f"{made.key}.tflock").decode()
        body = re.sub('"hold_until":"[^"]*"', lease, body)
        made.s3.client.put_object(Bucket=made.bucket, Key=f"{made.key}.tflock", Body=body.encode())


@pytest.mark.parametrize("backend", REMOTE)
def test_a_hold_whose_time_is_over_lets_the_next_run_in(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    held(made)
    end_at(made, seconds_ago=1)
    early = made.tfguard("--lock-timeout", "0s", "plan")
    end_at(made, seconds_ago=65)

    result = made.tfguard("--lock-timeout", "0s", "plan")

    assert early.code == 75, str(early)
    assert result.code == 0, str(result)
    assert "the hold by" in result.err
    assert "is over." in result.err
    assert made.locks() == []


def test_a_hold_does_not_come_between_a_run_and_its_lock(stage: Make) -> None:
    made = stage("dynamodb")

    with guarded(made):
        lock = made.wait_for_lock()
        result = made.tfguard("hold", "--reason", REASON)
        still = made.locks()

    assert result.code == 75
    assert "not held: it is held by" in result.err
    assert [each["ID"] for each in still] == [lock["ID"]]


def test_a_second_hold_shows_the_first(stage: Make) -> None:
    made = stage("s3")
    lock = held(made)

    result = made.tfguard("hold", "--reason", "another thing")

    assert result.code == 75
    assert REASON in result.err
    assert [each["ID"] for each in made.locks()] == [lock["ID"]]


def test_a_local_lock_cannot_be_held_by_hand(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("hold", "--reason", REASON)

    assert result.code == 64
    assert "tfguard exec -- sh" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "reason"),
        (("--reason", " "), "hold needs a reason"),
        (("--reason", "x", "--for", "2"), "--for: '2' is no duration"),
        (("--reason", "x", "--for", "0"), "--for takes from 1s to 720h"),
        (("--reason", "x" * 201), "longer than 200 characters"),
    ],
)
def test_what_cannot_be_held_is_said_before_anything_is_done(stage: Make, words: tuple[str, ...], said: str) -> None:
    made = stage("local", is_initialised=False)

    result = made.tfguard("hold", *words)

    assert result.code == 64, str(result)
    assert said in result.err
    assert all(len(line) <= 120 for line in result.err.splitlines())
