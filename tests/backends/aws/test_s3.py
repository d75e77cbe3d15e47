from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.conftest import S3
from tests.contract.kinds import ACCESS, S3Kind, lease, record, sending, without
from tfguard.backends import open_store
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.s3 import workspace_exists
from tfguard.backends.aws.spec import S3Spec, WorkspaceProbe
from tfguard.backends.net.transport import Request, Response
from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured
from tfguard.lock.store import QueueRecord

CUSTOMER_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def kind(s3: S3) -> Iterator[S3Kind]:
    made = S3Kind(s3)
    yield made
    made.close()


def sent(kind: S3Kind, **settings: Any) -> dict[str, Any]:
    """The headers of the lock's PutObject under these settings of the backend."""
    store: Any = open_store(msgspec.structs.replace(kind.spec, **settings), kind.credentials)
    kind.opened.append(store)
    headers: dict[str, Any] = {}

    def note(send: Any, request: Request, limit: int) -> Response:
        headers.update({name.lower(): value for name, value in request.headers.items()})
        answer: Response = send(request, limit)
        return answer

    with sending(store, note):
        store.create(record())
    return headers


@pytest.mark.emulator
def test_a_missing_bucket_is_named(s3: S3) -> None:
    store = open_store(
        S3Spec(bucket="no-such-bucket", key="k.tflock", aws=ACCESS, endpoint=s3.endpoint, use_path_style=True)
    )

    with pytest.raises(StoreMisconfigured, match=r"There is no s3://no-such-bucket/k\.tflock"):
        store.read()
    store.close()


@pytest.mark.emulator
def test_a_record_without_an_etag_replaces_and_deletes_nothing(kind: S3Kind) -> None:
    store = kind.open()
    held = store.create(record(lease=lease()))
    unstored = msgspec.structs.replace(held, version="")

    with pytest.raises(Conflict):
        store.replace(unstored, record())
    with pytest.raises(Conflict):
        store.delete(unstored)

    assert store.read() == held


@pytest.mark.emulator
def test_the_queue_lies_beside_the_state(kind: S3Kind) -> None:
    kind.open().write_queue(None, QueueRecord(text="{}", revision=1))

    body = kind.server.body(kind.spec.bucket, "prod/terraform.tfstate.tfguard")
    assert body == b'{"revision":1,"queue":"{}"}'


@pytest.mark.emulator
def test_a_garbage_queue_object_can_be_replaced(kind: S3Kind) -> None:
    kind.server.client.put_object(Bucket=kind.spec.bucket, Key="prod/terraform.tfstate.tfguard", Body=b"\xff[")
    store = kind.open()

    stored = store.write_queue(store.read_queue(), QueueRecord(text="{}", revision=1))

    assert store.read_queue() == stored


@pytest.mark.emulator
def test_the_lock_object_is_sent_as_terraform_sends_it(kind: S3Kind) -> None:
    headers = sent(kind)

    assert headers["content-type"] == "application/json"
    assert headers["if-none-match"] == "*"
    assert "x-amz-checksum-sha256" in headers
    assert "x-amz-server-side-encryption" not in headers


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({"encrypt": True}, "x-amz-server-side-encryption", "AES256"),
        ({"encrypt": True, "kms_key_id": "arn:k"}, "x-amz-server-side-encryption", "aws:kms"),
        ({"encrypt": True, "kms_key_id": "arn:k"}, "x-amz-server-side-encryption-aws-kms-key-id", "arn:k"),
        ({"encrypt": True, "sse_customer_key": CUSTOMER_KEY}, "x-amz-server-side-encryption-customer-key", None),
        ({"acl": "bucket-owner-full-control"}, "x-amz-acl", "bucket-owner-full-control"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_backends_settings_reach_the_lock_object(
    kind: S3Kind, settings: dict[str, Any], header: str, value: str | None
) -> None:
    headers = sent(kind, **settings)

    assert headers[header] == (value or CUSTOMER_KEY)


@pytest.mark.emulator
def test_no_checksum_is_sent_where_the_backend_skips_it(kind: S3Kind) -> None:
    assert "x-amz-checksum-sha256" not in sent(kind, skip_checksum=True)


@pytest.mark.emulator
def test_a_customer_key_that_is_no_base64_is_not_shown(kind: S3Kind) -> None:
    with pytest.raises(StoreMisconfigured, match="`sse_customer_key` is not base64") as caught:
        sent(kind, encrypt=True, sse_customer_key="hunter2!")

    assert "hunter2" not in str(caught.value)


@pytest.mark.emulator
def test_a_server_that_honours_conditions_is_trusted_and_left_clean(kind: S3Kind) -> None:
    store: Any = kind.open()
    held = store.create(record(lease=lease()))

    store.prove_conditional(held)

    assert store.read() == held
    listed = kind.server.client.list_objects_v2(Bucket=kind.spec.bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == [kind.spec.key]


@pytest.mark.emulator
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_server_that_ignores_conditions_is_not_trusted(kind: S3Kind, header: str) -> None:
    store: Any = kind.open()
    held = store.create(record(lease=lease()))

    with (
        sending(store, without(header)),
        pytest.raises(StoreMisconfigured, match="this server ignores conditions"),
    ):
        store.prove_conditional(held)

    assert kind.open().read() == held


# --- workspaces -------------------------------------------------------------------------------------------------


def probe(kind: S3Kind, workspace: str, **settings: Any) -> WorkspaceProbe:
    return WorkspaceProbe(
        bucket=kind.spec.bucket,
        prefix="env:/",
        state_key=f"env:/{workspace}/app/terraform.tfstate",
        workspace=workspace,
        aws=ACCESS,
        endpoint=kind.spec.endpoint,
        use_path_style=True,
        **settings,
    )


@pytest.mark.emulator
def test_a_workspace_exists_where_its_state_does(kind: S3Kind) -> None:
    for workspace in ("prod", "stage"):
        kind.server.client.put_object(Bucket=kind.spec.bucket, Key=f"env:/{workspace}/app/terraform.tfstate", Body=b"")

    found = {name: workspace_exists(probe(kind, name)) for name in ("prod", "stage", "dev", "pro", "prod2")}

    assert found == {"prod": True, "stage": True, "dev": False, "pro": False, "prod2": False}


@pytest.mark.emulator
def test_a_lock_or_anothers_state_is_no_workspace(kind: S3Kind) -> None:
    for key in (
        "env:/dev/app/terraform.tfstate.tflock",
        "env:/dev/other/terraform.tfstate",
        "dev/app/terraform.tfstate",
    ):
        kind.server.client.put_object(Bucket=kind.spec.bucket, Key=key, Body=b"")

    assert not workspace_exists(probe(kind, "dev"))


@pytest.mark.emulator
def test_one_page_decides_however_many_workspaces_there_are(kind: S3Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        key = f"env:/ws{number:02}/app/terraform.tfstate"
        kind.server.client.put_object(Bucket=kind.spec.bucket, Key=key, Body=b"")
    asked: list[Any] = []
    ask = Client.ask

    def ask_for_two(client: Client, method: str, place: str, parameters: Any) -> dict[str, Any]:
        asked.append(parameters)
        return ask(client, method, place, {**parameters, "MaxKeys": 2})

    monkeypatch.setattr(Client, "ask", ask_for_two)

    found = [workspace_exists(probe(kind, name)) for name in ("ws00", "ws19", "ws07x")]

    assert found == [True, True, False]
    assert len(asked) == 3


@pytest.mark.emulator
def test_a_listing_that_is_denied_is_said_to_be(kind: S3Kind) -> None:
    store: Any = kind.open()
    denied = Response(403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")

    with sending(store, lambda *_: denied), pytest.raises(StoreDenied) as caught:
        store.list_keys("env:/")

    assert caught.value.action == "s3:ListBucket"
