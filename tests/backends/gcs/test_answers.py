"""What Google's answers mean: each becomes one error of ours, and what is not Google's is no answer."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.contract.kinds import record
from tests.support.serving import replying
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.gcs.store import GcsStore
from tfguard.errors import (
    ActionDenied,
    Conflict,
    StoreDenied,
    StoreMisconfigured,
    StoreUnavailable,
    TfguardError,
)
from tfguard.lock.store import LockRecord

Open = Callable[[str], GcsStore]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open stores, and close them at the end."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(GcsStore(at(address))))


def at(address: str) -> GcsSpec:
    access = GcsAccess(access_token="secret-token", endpoint=f"{address}/storage/v1/")
    return GcsSpec(bucket="b", key="app/default.tflock", gcs=access)


def error(code: int, reason: str, words: str = "words") -> bytes:
    return json.dumps({"error": {"code": code, "message": words, "errors": [{"reason": reason}]}}).encode()


def about(**changed: Any) -> bytes:
    body = b"{}"
    said = {
        "kind": "storage#object",
        "name": "app/default.tflock",
        "bucket": "b",
        "generation": "7",
        "metageneration": "1",
        "size": str(len(body)),
        "md5Hash": base64.b64encode(hashlib.md5(body).digest()).decode(),
    }
    return json.dumps({**said, **changed}).encode()


READS: dict[str, tuple[int, bytes, type[TfguardError], str]] = {
    "a portal's page": (200, b"<html>Log in</html>", StoreUnavailable, "not Google's"),
    "a portal's JSON": (200, b"{}", StoreUnavailable, "not Google's"),
    "another object": (200, about(name="other"), StoreUnavailable, "about something else"),
    "another bucket": (200, about(bucket="other"), StoreUnavailable, "about something else"),
    "no number": (200, about(generation="x"), StoreUnavailable, "no generation"),
    "half of it": (200, about()[:-9], StoreUnavailable, "not Google's"),
    "another server's 404": (404, b"Not Found", StoreUnavailable, "no refusal of Google's (404)"),
    "a proxy's 403": (403, b"<html>Blocked</html>", StoreUnavailable, "no refusal of Google's (403)"),
    "a redirect": (302, b"", StoreUnavailable, "no refusal of Google's (302)"),
    "another status within": (403, error(404, "notFound"), StoreUnavailable, "it says 404 and is 403"),
    "no bucket": (404, error(404, "notFound", "The specified bucket does not exist."), StoreMisconfigured, "no bucket"),
    "denied": (403, error(403, "forbidden", "ci@x does not have storage.objects.get"), ActionDenied, "objects.get on"),
    "no credentials": (401, error(401, "authError", "Invalid Credentials"), StoreDenied, "does not accept"),
    "too often": (429, b"", StoreUnavailable, "throttles"),
    "over a rate": (403, error(403, "userRateLimitExceeded"), StoreUnavailable, "throttles"),
    "broken": (503, b"", StoreUnavailable, "no usable answer"),
    "requester pays": (400, error(400, "required", "Bucket is requester pays"), StoreMisconfigured, "requester pays"),
    "hostile words": (403, error(403, "forbidden", "\x1b[2J\r\n" + "x" * 9_000), ActionDenied, "Google says"),
}


@pytest.mark.parametrize(("status", "body", "kind", "words"), READS.values(), ids=READS.keys())
def test_what_a_read_is_answered_becomes_one_error(
    opened: Open, status: int, body: bytes, kind: type[TfguardError], words: str
) -> None:
    with replying(lambda _: (status, {}, body)) as address, pytest.raises(kind) as raised:
        opened(address).read()

    said = str(raised.value)
    assert words in said
    assert len(said.splitlines()) <= 3
    assert said.replace("\n", "").isprintable()
    assert "secret-token" not in said
    assert type(raised.value) is kind
    assert getattr(raised.value, "is_throttled", False) is ("throttles" in words)


WRITES: dict[str, tuple[int, bytes, type[Exception]]] = {
    "another generation": (412, error(412, "conditionNotMet"), Conflict),
    "gone": (404, error(404, "notFound", "No such object: b/app/default.tflock"), Conflict),
    "a portal": (200, b"", StoreUnavailable),
    "another checksum": (200, about(md5Hash="AAAA"), StoreUnavailable),
    "a proxy's 412": (412, b"", StoreUnavailable),
    "again": (409, error(409, "conflict"), StoreUnavailable),
    "kept": (403, error(403, "retentionPolicyNotMet"), StoreMisconfigured),
}


@pytest.mark.parametrize(("status", "body", "kind"), WRITES.values(), ids=WRITES.keys())
def test_what_a_write_is_answered_becomes_one_error(
    opened: Open, status: int, body: bytes, kind: type[Exception]
) -> None:
    with replying(lambda _: (status, {}, body)) as address, pytest.raises(kind) as raised:
        opened(address).create(record())

    assert type(raised.value) is kind


def test_a_deletion_that_nothing_proves_is_looked_at(opened: Open) -> None:
    seen = LockRecord(text="{}", info=None, version="7/1")

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        return (204, {}, b"") if request.method == "DELETE" else (200, {}, about())

    with replying(answer) as address, pytest.raises(StoreUnavailable, match="still there"):
        opened(address).delete(seen)


def test_a_deletion_that_google_has_numbered_is_believed(opened: Open) -> None:
    asked: list[str] = []

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.method)
        return 204, {"X-GUploader-UploadID": "ABC"}, b""

    with replying(answer) as address:
        opened(address).delete(LockRecord(text="{}", info=None, version="7/1"))

    assert asked == ["DELETE"]


def test_a_body_that_is_not_what_was_said_of_it_is_no_answer(opened: Open) -> None:
    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, b"<html>" if "alt=media" in request.path else about()

    with replying(answer) as address, pytest.raises(StoreUnavailable, match="another object"):
        opened(address).read()


def test_a_token_that_was_good_before_has_expired(opened: Open) -> None:
    answers = [(200, about()), (200, b"{}"), (401, error(401, "authError"))]

    with replying(lambda _: (answers[0][0], {}, answers.pop(0)[1])) as address:
        store = opened(address)
        store.read()
        with pytest.raises(StoreDenied, match="have expired") as raised:
            store.read()

    assert raised.value.is_expired


def test_nobody_there_names_the_address(opened: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"

    with pytest.raises(StoreUnavailable, match=address.removeprefix("http://")):
        opened(address).read()


def test_an_address_that_is_none_is_said_before_anything_is_asked() -> None:
    with pytest.raises(StoreMisconfigured, match="storage_custom_endpoint"):
        GcsStore(GcsSpec(bucket="b", key="k", gcs=GcsAccess(access_token="t", endpoint="localhost:80")))
