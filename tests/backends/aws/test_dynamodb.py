from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.conftest import DynamoDB
from tests.contract.kinds import ACCESS, DynamoDBKind, lease, record
from tests.support.eventually import patience
from tfguard.backends import open_store
from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.backends.net.times import BEAT
from tfguard.errors import Conflict, StoreMisconfigured, StoreUnavailable
from tfguard.lock.store import QueueRecord


@pytest.fixture
def kind(dynamodb: DynamoDB) -> Iterator[DynamoDBKind]:
    made = DynamoDBKind(dynamodb)
    yield made
    made.close()


def opened(table: str, endpoint: str) -> Any:
    return open_store(DynamoDBSpec(table=table, lock_id="a/b", aws=ACCESS, endpoint=endpoint))


@pytest.mark.emulator
def test_a_table_with_another_key_is_explained(dynamodb: DynamoDB) -> None:
    store = opened(dynamodb.table(hash_key="lockid"), dynamodb.endpoint)

    for attempt in (store.read, lambda: store.create(record()), lambda: store.delete(record())):
        with pytest.raises(StoreMisconfigured, match="named exactly LockID"):
            attempt()
    store.close()


@pytest.mark.emulator
def test_a_missing_table_is_named(dynamodb: DynamoDB) -> None:
    store = opened("no-such-table", dynamodb.endpoint)

    with pytest.raises(StoreMisconfigured, match="There is no DynamoDB table no-such-table"):
        store.read()
    store.close()


@pytest.mark.emulator
@pytest.mark.parametrize(
    "attributes",
    [
        {"Digest": {"S": "d41d8cd98f00b204e9800998ecf8427e"}},
        {"Info": {"N": "7"}},
        {"Info": {"B": b"\xff\x00"}},
        {"Info": {"M": {"ID": {"S": "a"}}}},
        {"Info": {"NULL": True}},
    ],
    ids=["digest", "number", "bytes", "map", "null"],
)
def test_an_item_without_readable_info_holds_the_lock_until_deleted(
    kind: DynamoDBKind, attributes: dict[str, Any]
) -> None:
    kind.put(**attributes)
    store = kind.open()

    with pytest.raises(Conflict):
        store.create(record())
    seen = store.read()
    assert seen is not None
    assert (seen.info, seen.lease) == (None, None)
    store.delete(seen)

    assert store.read() is None


@pytest.mark.emulator
@pytest.mark.parametrize(
    "damage",
    [
        {"TfguardLease": {"S": "{"}},
        {"TfguardLease": {"S": "[]"}},
        {"TfguardLease": {"N": "1"}},
        {"TfguardBeat": {"N": "2"}},
        {"TfguardBeat": {"S": "1"}},
    ],
    ids=["half", "list", "number", "other beat", "beat as text"],
)
def test_a_damaged_lease_never_expires_but_can_be_released(kind: DynamoDBKind, damage: dict[str, Any]) -> None:
    written = record(lease=lease(1))
    whole = {
        "Info": {"S": written.text},
        "TfguardBeat": {"N": "1"},
        "TfguardLease": {"S": msgspec.json.encode(written.lease).decode()},
    }
    kind.put(**{**whole, **damage})
    store = kind.open()

    seen = store.read()

    assert seen is not None
    assert (seen.id, seen.lease) == (written.id, None)
    with pytest.raises(Conflict):
        store.replace(seen, record(lease=lease()))
    store.delete(seen)


@pytest.mark.emulator
def test_a_release_ignores_beats_that_it_has_not_seen(kind: DynamoDBKind) -> None:
    store = kind.open()
    seen = store.create(record(lease=lease(1)))
    store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    store.delete(seen)

    assert store.read() is None


@pytest.mark.emulator
def test_the_queue_is_an_item_of_its_own(kind: DynamoDBKind) -> None:
    kind.open().write_queue(None, QueueRecord(text="{}", revision=4))

    assert kind.server.item(kind.spec.table, "bucket/prod/terraform.tfstate.tfguard") == {
        "LockID": {"S": "bucket/prod/terraform.tfstate.tfguard"},
        "Queue": {"S": "{}"},
        "Revision": {"N": "4"},
    }


@pytest.mark.emulator
@pytest.mark.parametrize("attributes", [{}, {"Revision": {"S": "x"}}, {"Revision": {"N": "-1"}}], ids=str)
def test_a_garbage_queue_item_can_be_replaced(kind: DynamoDBKind, attributes: dict[str, Any]) -> None:
    key = {"LockID": {"S": f"{kind.spec.lock_id}.tfguard"}}
    kind.server.client.put_item(TableName=kind.spec.table, Item={**key, **attributes})
    store = kind.open()

    store.write_queue(store.read_queue(), QueueRecord(text="{}", revision=1))

    assert store.read_queue() == QueueRecord(text="{}", revision=1)


def test_a_server_that_never_answers_is_given_up_after_three_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = opened("locks", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()

        with pytest.raises(StoreUnavailable, match="No answer to dynamodb:GetItem"):
            store.read()

    took = time.monotonic() - started
    assert BEAT.read <= took < patience(BEAT.read)
    store.close()


def test_nobody_listening_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    store = opened("locks", endpoint)

    with pytest.raises(StoreUnavailable, match="No answer"):
        store.read()
    store.close()


def test_what_is_read_is_what_was_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that may be a second old would let a waiter see a lock that is gone, and a holder a beat that is not."""
    store, asked = opened("locks", "http://127.0.0.1:1"), list[dict[str, Any]]()
    monkeypatch.setattr(store._client, "ask", lambda method, place, request: asked.append(request) or {})

    store.read()
    store.read_queue()

    assert [request.get("ConsistentRead") for request in asked] == [True, True]
    store.close()
