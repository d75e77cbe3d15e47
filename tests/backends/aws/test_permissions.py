"""Trying permissions changes nothing: not a lock that is held, nor one that is free, nor on a careless server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import S3, DynamoDB
from tests.contract.kinds import DynamoDBKind, S3Kind, lease, record, sending, without
from tfguard.backends.aws.permissions import try_lock, try_queue
from tfguard.backends.target import Target
from tfguard.errors import Conflict

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("aws_env")]


@pytest.fixture(params=["dynamodb", "s3"])
def kind(request: pytest.FixtureRequest) -> Iterator[DynamoDBKind | S3Kind]:
    server: DynamoDB | S3 = request.getfixturevalue(request.param)
    made = DynamoDBKind(server) if isinstance(server, DynamoDB) else S3Kind(server)
    yield made
    made.close()


def target(kind: DynamoDBKind | S3Kind) -> Target:
    return Target(label="x", path="x", backend="s3", workspace="default", stores=(kind.spec,))


def test_a_lock_that_is_held_stays_as_it_is(kind: DynamoDBKind | S3Kind) -> None:
    store = kind.open()
    held = store.create(record(lease=lease()))

    tried = try_lock(target(kind))

    assert len(tried.allowed) == 3
    assert tried.denied == ()
    assert store.read() == held


def test_a_lock_that_is_free_stays_free(kind: DynamoDBKind | S3Kind) -> None:
    tried = try_lock(target(kind)) + try_queue(target(kind))

    assert len(tried.allowed) == 5
    store = kind.open()
    assert (store.read(), store.read_queue()) == (None, None)


def test_what_is_asked_for_never_holds(kind: DynamoDBKind | S3Kind) -> None:
    store: Any = kind.open()
    store.create(record(lease=lease()))
    name = kind.spec.key if isinstance(kind, S3Kind) else kind.spec.lock_id

    _, write, delete = store.attempts_on(name).values()

    for attempt in (write, delete):
        with pytest.raises(Conflict):
            attempt()


def test_a_server_that_ignores_conditions_is_left_as_it_was(s3: S3) -> None:
    kind = S3Kind(s3)
    store: Any = kind.open()
    held = store.create(record(lease=lease()))

    with sending(store, without("If-Match")):
        for attempt in store.attempts_on(kind.spec.key).values():
            attempt()

    assert kind.open().read() == held
    listed = s3.client.list_objects_v2(Bucket=kind.spec.bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == [kind.spec.key]
    kind.close()
