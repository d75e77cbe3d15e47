"""
Whatever answers in a service's place is no answer, for those who look around too: one clear error, and few requests.

Of what a run asks of its lock, see `tests/backends/aws/test_proof.py`; these go through botocore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.backends.aws.test_proof import JSON, NEVER, PAGE, Reply, dynamodb
from tests.support.serving import Request, replying
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.keys import AssumeRole
from tfguard.backends.aws.spec import AwsAccess
from tfguard.errors import TfguardError

XML = {"Content-Type": "text/xml"}
ROWS: dict[str, Reply] = NEVER | {
    "round-and-round": (301, {"Location": "ENDPOINT/", "x-amz-bucket-region": "eu-west-2"}, b""),
    "another-region": (301, {"x-amz-bucket-region": "eu-west-3"}, b"<Error><Code>PermanentRedirect</Code></Error>"),
    "moved": (307, {"Location": "ENDPOINT/x"}, b"<Error><Code>TemporaryRedirect</Code><Endpoint>x</Endpoint></Error>"),
    "list": dynamodb(b"[]"),
    "null": dynamodb(b"null"),
    "text": dynamodb(b'"x"'),
    "item-is-text": dynamodb(b'{"Items":"x","Table":"x","Item":"x"}'),
    "items-of-text": dynamodb(b'{"Items":["x"],"Table":{"KeySchema":"x","TableStatus":[]}}'),
    "deep": dynamodb(b'{"Items":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "deep-xml": (200, XML, b"<a>" * 20_000 + b"</a>" * 20_000),
    "xml-of-another": (200, XML, b"<html></html>"),
    "half-xml": (200, XML, b"<GetCallerIdentityResponse><GetCallerIdentityResult>"),
    "keys-without-a-key": (200, XML, b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>"),
    "keys-that-never-end": (
        200,
        XML,
        (
            b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s"
            b"</SecretAccessKey><Expiration>never</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ),
    ),
    "page-as-xml": (200, XML, PAGE),
    "not-utf-8": (200, {"Content-Type": JSON}, b'{"Items":[{"LockID":{"S":"\xff"}}]}'),
}
#: So many requests may one question take, whatever answers it: three tries, and one by the server's clock.
MOST = 6


def access(endpoint: str, **more: Any) -> AwsAccess:
    return AwsAccess(region="eu-west-1", access_key="A", secret_key="s", sts_endpoint=endpoint, **more)


def asking(service: str, method: str, **parameters: Any) -> Callable[[str], object]:
    def ask(endpoint: str) -> object:
        with closing(Credentials(access(endpoint))) as found:
            client: Client = found.client(service, endpoint)
            with closing(client):
                return client.ask(method, "it", parameters)

    return ask


def assuming(endpoint: str) -> object:
    role = AssumeRole(role_arn="arn:aws:iam::123456789012:role/x")
    with closing(Credentials(access(endpoint, assume_role=(role,)))) as found:
        found.client("dynamodb", endpoint).close()
        return found.get_frozen_credentials()


def caller(endpoint: str) -> object:
    with closing(Credentials(access(endpoint))) as found:
        found.client("dynamodb", endpoint).close()
        return found.caller()


QUESTIONS: dict[str, Callable[[str], object]] = {
    "scan": asking("dynamodb", "scan", TableName="locks"),
    "describe": asking("dynamodb", "describe_table", TableName="locks"),
    "versioning": asking("s3", "get_bucket_versioning", Bucket="bucket"),
    "head": asking("s3", "head_bucket", Bucket="bucket"),
    "caller": caller,
    "role": assuming,
}


@pytest.fixture
def served() -> Iterator[tuple[str, list[Reply], list[Request]]]:
    """A server's address, what it answers, and what it was asked."""
    replies: list[Reply] = []
    requests: list[Request] = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        status, headers, body = replies[0]
        return status, {name: value.replace("ENDPOINT", address[0]) for name, value in headers.items()}, body

    address = [""]
    with replying(answer) as address[0]:
        yield address[0], replies, requests


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_answers_in_a_services_place_is_one_clear_error(
    question: str, served: tuple[str, list[Reply], list[Request]]
) -> None:
    endpoint, replies, requests = served
    defects = []
    for name, reply in ROWS.items():
        replies[:] = [reply]
        requests.clear()
        try:
            QUESTIONS[question](endpoint)
        except TfguardError as error:
            if error.exit_code == 70:
                defects.append((name, repr(error)))
        except BaseException as error:  # noqa: BLE001 - each is exit 70
            defects.append((name, repr(error)))
        if len(requests) > MOST:
            defects.append((name, f"{len(requests)} requests"))

    assert defects == []
