"""Our signatures are botocore's, to the letter."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tfguard.backends.aws import s3_wire
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.signing import signed

NOW = datetime(2026, 11, 28, 17, 0, 5, tzinfo=timezone.utc)
KEYS = Keys(access_key="AKID", secret_key="sécret/+")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def botocores(url: str, headers: dict[str, str], body: bytes, keys: Keys, scope: tuple[str, str], method: str) -> str:
    region, service = scope
    auth = {"s3": S3SigV4Auth, "dynamodb": SigV4Auth}[service](
        Credentials(keys.access_key, keys.secret_key, keys.token), service, region
    )
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context.update({"timestamp": NOW.strftime("%Y%m%dT%H%M%SZ"), "payload_signing_enabled": True})
    sent: Any = request.headers
    sent["X-Amz-Date"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    if service == "s3":
        sent["X-Amz-Content-SHA256"] = auth.payload(request)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def ours(url: str, headers: dict[str, str], body: bytes, keys: Keys, scope: tuple[str, str], method: str) -> str:
    sent = signed(method, url, headers, body, keys=keys, scope=scope, now=NOW)
    return sent["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize("token", ["", "session/+=token"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "https://dynamodb.eu-west-1.amazonaws.com",
        "http://127.0.0.1:8000",
        "http://h:80",
        "https://h:443",
        "http://h/a b",
    ],
)
def test_a_request_to_dynamodb_is_signed_alike(endpoint: str, token: str) -> None:
    keys = Keys(access_key="AKID", secret_key="secret", token=token or None)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.GetItem"}
    words = (f"{endpoint.replace(' ', '%20')}/", headers, b'{"a": 1}', keys, ("eu-west-1", "dynamodb"), "POST")

    assert ours(*words) == botocores(*words)


@pytest.mark.hypothesis
@given(
    key=NAMES,
    prefix=NAMES,
    bucket=st.sampled_from(["bucket", "tenant%3Aname", "my.bucket"]),
    body=st.binary(max_size=9),
)
def test_a_request_to_s3_is_signed_alike(key: str, prefix: str, bucket: str, body: bytes) -> None:
    for method, parameters in (("put_object", {"Key": key, "Body": body}), ("list_objects_v2", {"Prefix": prefix})):
        url, headers, content = s3_wire.request(method, f"https://s3.eu-west-1.amazonaws.com/{bucket}", parameters)
        words = (url, headers, content, KEYS, ("eu-west-1", "s3"), s3_wire.OPERATIONS[method])

        assert ours(*words) == botocores(*words)
