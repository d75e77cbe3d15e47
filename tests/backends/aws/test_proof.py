"""An answer counts only if it proves that the service gave it; everything else is no answer, and ends nobody."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.contract.kinds import ACCESS, lease, record
from tests.support.serving import Request, replying
from tfguard.backends import open_store
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec
from tfguard.errors import Conflict, StoreUnavailable
from tfguard.lock.store import LockRecord, QueueRecord, Store

JSON = "application/x-amz-json-1.0"
PAGE = b"<!DOCTYPE html><html><head><title>Blocked</title></head><body>Please log in.</body></html>"
Reply = tuple[int, dict[str, str], bytes]


def dynamodb(body: bytes, crc: int | None = None, status: int = 200, kind: str = JSON, **headers: str) -> Reply:
    checksum = zlib.crc32(body) if crc is None else crc
    return status, {"Content-Type": kind, "x-amz-crc32": str(checksum), **headers}, body


def item(**attributes: Any) -> bytes:
    return json.dumps({"Item": {"LockID": {"S": "k"}, **attributes}}).encode()


#: What no operation may take for an answer.
NEVER: dict[str, Reply] = {
    "page": (200, {"Content-Type": "text/html"}, PAGE),
    "page-with-etag": (200, {"Content-Type": "text/html", "ETag": '"1"', "x-amz-request-id": "1"}, PAGE),
    "page-denied": (403, {"Content-Type": "text/html"}, PAGE),
    "page-missing": (404, {"Content-Type": "text/html"}, PAGE),
    "page-broken": (502, {"Content-Type": "text/html"}, PAGE),
    "page-refused": (400, {"Content-Type": "text/html"}, PAGE),
    "elsewhere": (302, {"Location": "http://portal.example/"}, b""),
    "elsewhere-again": (307, {"Location": "http://portal.example/"}, PAGE),
    "login-wanted": (511, {}, b""),
    "proxy-wants-login": (407, {"Content-Type": "text/html"}, PAGE),
}
NEVER_DYNAMODB: dict[str, Reply] = {
    "nothing": (200, {}, b""),
    "bare-braces": (200, {"Content-Type": "application/json"}, b"{}"),
    "page-as-json": dynamodb(PAGE),
    "refusal-of-a-portal": (400, {"Content-Type": "application/json"}, b'{"__type":"x#ValidationException"}'),
    "wrong-checksum": dynamodb(b"{}", crc=1),
    "wrong-checksum-refusal": dynamodb(b'{"__type":"x#ConditionalCheckFailedException"}', crc=1, status=400),
    "broken-gzip": dynamodb(b"\x1f\x8b\x08broken", **{"Content-Encoding": "gzip"}),
    "whole-gzip": dynamodb(gzip.compress(b"{}"), **{"Content-Encoding": "gzip"}),
    "list": dynamodb(b"[]"),
    "null": dynamodb(b"null"),
    "text": dynamodb(b'"x"'),
    "half": dynamodb(b'{"Item":{"LockID"'),
    "item-is-text": dynamodb(b'{"Item":"x"}'),
    "attribute-is-text": dynamodb(b'{"Item":{"Info":"x"}}'),
    "attribute-is-list": dynamodb(b'{"Item":{"Info":["x"]}}'),
    "deep": dynamodb(b'{"Item":{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001 + b"}"),
    "not-utf-8": dynamodb(b'{"Item":{"Info":{"S":"\xff"}}}'),
    "another-table": dynamodb(b'{"ConsumedCapacity":{"TableName":"others"}}'),
    "refusal-without-name": dynamodb(b"{}", status=400),
    "refusal-of-lists": dynamodb(b'{"__type":["x"]}', status=400),
    "created": dynamodb(b"{}", status=201),
}
NEVER_S3: dict[str, Reply] = {
    "xml-of-another": (404, {"Content-Type": "application/xml"}, b"<Fault><Code>NoSuchKey</Code></Fault>"),
    "half-xml": (404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code>"),
    "entities": (404, {}, b'<!DOCTYPE Error [<!ENTITY a "NoSuchKey">]><Error><Code>&a;</Code></Error>'),
    "no-code": (404, {"Content-Type": "application/xml"}, b"<Error></Error>"),
    "deep-xml": (404, {"Content-Type": "application/xml"}, b"<Error>" * 5000),
    "etag-missing": (200, {"Content-Type": "application/json"}, b"{}"),
    "partial": (206, {"Content-Type": "application/json", "ETag": '"1"'}, b"{}"),
}
DYNAMODB_ROWS = NEVER | NEVER_DYNAMODB
S3_ROWS = NEVER | NEVER_S3


@pytest.fixture
def replies() -> list[Reply]:
    """What the server answers; the last one for ever."""
    return []


@pytest.fixture
def endpoint(replies: list[Reply]) -> Iterator[str]:
    def answer(_: Request) -> Reply:
        return replies.pop(0) if len(replies) > 1 else replies[0]

    with replying(answer) as address:
        yield address


def table(endpoint: str) -> Store:
    return open_store(DynamoDBSpec(table="locks", lock_id="k", aws=ACCESS, endpoint=endpoint))


def bucket(endpoint: str) -> Store:
    return open_store(S3Spec(bucket="bucket", key="k.tflock", aws=ACCESS, endpoint=endpoint, use_path_style=True))


def held() -> LockRecord:
    return msgspec.structs.replace(record(lease=lease()), version='"1"')


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read(),
    "create": lambda store: store.create(record(lease=lease())),
    "replace": lambda store: store.replace(held(), record(lease=lease(2))),
    "delete": lambda store: store.delete(held()),
    "read-queue": lambda store: store.read_queue(),
    "write-queue": lambda store: store.write_queue(None, QueueRecord(text="{}", revision=1)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_of_dynamodb_nothing_counts_without_proof(operation: str, endpoint: str, replies: list[Reply]) -> None:
    store = table(endpoint)
    believed = []
    for name, reply in DYNAMODB_ROWS.items():
        replies[:] = [reply]
        try:
            OPERATIONS[operation](store)
        except StoreUnavailable:
            continue
        except BaseException as error:  # noqa: BLE001 - any other is what would end a keeper
            believed.append((name, repr(error)))
        else:
            believed.append((name, "counted"))
    store.close()

    assert believed == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_of_s3_nothing_counts_without_proof(operation: str, endpoint: str, replies: list[Reply]) -> None:
    store = bucket(endpoint)
    believed = []
    for name, reply in S3_ROWS.items():
        replies[:] = [reply]
        try:
            OPERATIONS[operation](store)
        except StoreUnavailable:
            continue
        except BaseException as error:  # noqa: BLE001 - any other is what would end a keeper
            believed.append((name, repr(error)))
        else:
            believed.append((name, "counted"))
    store.close()

    assert believed == []


HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize("store", [table, bucket])
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((403, HTML, b"<html><head><title>Blocked\x1b[2J by the\n proxy</title></head>"), "403 and a page: Blocked"),
        ((404, HTML, b"<h1>Not&nbsp;here</h1><p>Ask Ana</p>"), "404 and a page: Not&nbsp;here Ask Ana"),
        ((403, {"Content-Type": "text/plain"}, b"denied\n"), "403 and a page: denied"),
        ((403, {}, b""), "403 and an empty page"),
        ((200, HTML, b"<!DOCTYPE html><title>Sign in</title>" + b"x" * 5000), "200 and a page: Sign in"),
        ((404, HTML, b"<" * 200_000), "404 and a page: <"),
    ],
)
def test_a_page_of_somebody_between_is_named_by_its_status_and_words(
    store: Callable[[str], Store], reply: Reply, told: str, endpoint: str, replies: list[Reply]
) -> None:
    """Whoever gives up waiting has to know that it was no silence: a proxy, a firewall, a portal."""
    opened = store(endpoint)
    replies[:] = [reply]

    with pytest.raises(StoreUnavailable) as caught:
        opened.read()

    opened.close()
    first, second = str(caught.value).splitlines()
    assert first.startswith("Something between us and AWS answered ") and told in first
    assert "proxy" in second
    assert all(len(line) <= 120 and line.isprintable() for line in (first, second))


def test_what_proves_itself_counts(endpoint: str, replies: list[Reply]) -> None:
    store = table(endpoint)
    replies[:] = [dynamodb(b'{"ConsumedCapacity":{"TableName":"locks","CapacityUnits":1}}')]

    assert store.read() is None
    store.create(record(lease=lease()))
    store.close()


@pytest.mark.parametrize("name", ["locks", "arn:aws:dynamodb:eu-west-1:1:table/locks"])
def test_a_table_may_be_named_by_its_arn(name: str, endpoint: str, replies: list[Reply]) -> None:
    store = table(endpoint)
    replies[:] = [dynamodb(json.dumps({"ConsumedCapacity": {"TableName": name}}).encode())]

    assert store.read() is None
    store.close()


def test_a_look_alike_without_checksums_is_believed_for_its_type(endpoint: str, replies: list[Reply]) -> None:
    store = table(endpoint)
    replies[:] = [(200, {"Content-Type": JSON}, item(Info={"S": "{}"}))]

    assert store.read() is not None
    store.close()


def test_a_deletion_without_a_number_is_looked_after(endpoint: str, replies: list[Reply]) -> None:
    store = bucket(endpoint)
    gone = (404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>")
    replies[:] = [(204, {}, b""), gone]
    store.delete(held())

    replies[:] = [(204, {}, b""), (200, {"ETag": '"1"', "Content-Type": "application/json"}, b"{}")]
    with pytest.raises(StoreUnavailable):
        store.delete(held())
    store.close()


def test_a_failed_condition_is_one_with_or_without_words(endpoint: str, replies: list[Reply]) -> None:
    store = bucket(endpoint)
    for body in (b"", b"<Error><Code>PreconditionFailed</Code></Error>"):
        replies[:] = [(412, {}, body)]

        with pytest.raises(Conflict):
            store.replace(held(), record(lease=lease(2)))
    store.close()


def test_a_clock_that_is_wrong_is_set_by_the_servers(endpoint: str, replies: list[Reply]) -> None:
    store = table(endpoint)
    late = b'{"__type":"x#InvalidSignatureException","message":"Signature expired"}'
    replies[:] = [dynamodb(late, status=400, Date="Thu, 01 Jan 2037 00:00:00 GMT"), dynamodb(b"{}")]

    assert store.read() is None
    store.close()
