"""What Azure's answers become, and what is no answer of Azure's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.support.serving import Request, replying
from tfguard.backends.azurerm.answers import refusal
from tfguard.backends.azurerm.client import Client
from tfguard.backends.azurerm.credentials import Credentials
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable

PLACE = "azblob://acct/c/.tfguard/prod.lock"


def error(status: int, code: str = "", body: bytes = b"", *, was_good: bool = False) -> Exception:
    headers = {"x-ms-error-code": code} if code else {}
    return refusal(Response(status, headers, body), "writing", PLACE, was_good=was_good)


REFUSALS: dict[tuple[int, str], type[Exception]] = {
    (404, "BlobNotFound"): Conflict,
    (409, "BlobAlreadyExists"): Conflict,
    (412, "ConditionNotMet"): Conflict,
    (412, "LeaseIdMismatchWithBlobOperation"): Conflict,
    (409, "LeaseAlreadyPresent"): Conflict,
    (409, "LeaseNotPresentWithLeaseOperation"): Conflict,
    (404, "ContainerNotFound"): StoreMisconfigured,
    (409, "BlobImmutableDueToPolicy"): StoreMisconfigured,
    (400, "InvalidHeaderValue"): StoreMisconfigured,
    (403, "AuthorizationPermissionMismatch"): ActionDenied,
    (403, "AuthenticationFailed"): StoreDenied,
    (401, "InvalidAuthenticationInfo"): StoreDenied,
    (503, "ServerBusy"): StoreUnavailable,
    (500, "InternalError"): StoreUnavailable,
    (409, "ContainerBeingDeleted"): StoreUnavailable,
    (408, ""): StoreUnavailable,
    (404, ""): StoreUnavailable,
}


@pytest.mark.parametrize(("answer", "kind"), REFUSALS.items(), ids=[f"{s} {c}" for s, c in REFUSALS])
def test_a_refusal_becomes_what_we_do_about_it(answer: tuple[int, str], kind: type[Exception]) -> None:
    found = error(*answer)

    assert type(found) is kind
    assert all(len(line) <= 120 for line in str(found).splitlines())


def test_the_word_may_stand_in_the_body_alone() -> None:
    body = b'<?xml version="1.0"?><Error><Code>AuthorizationFailure</Code></Error>'

    assert isinstance(error(403, "", body), ActionDenied)


def test_a_throttled_write_and_an_expired_token_are_known_as_such() -> None:
    throttled, expired = error(503, "ServerBusy"), error(401, "InvalidAuthenticationInfo", was_good=True)

    assert isinstance(throttled, StoreUnavailable) and throttled.is_throttled
    assert isinstance(expired, StoreDenied) and expired.is_expired


@contextmanager
def answering(headers: Mapping[str, str], body: bytes = b"") -> Iterator[Client]:
    """A client whose Azure says this, and repeats the request's number where that is `=`."""

    def reply(request: Request) -> tuple[int, Mapping[str, str], bytes]:
        number = request.headers["x-ms-client-request-id"]
        return 200, {name: number if value == "=" else value for name, value in headers.items()}, body

    with replying(reply) as address:
        spec = AzureSpec(container="c", key="k.lock", azure=AzureAccess(account="acct", access_key="a2V5"))
        credentials = Credentials(spec.azure)
        credentials.resolve()
        client = Client(spec, credentials, owns_credentials=True, environ={})
        credentials._endpoint = address
        yield client
        client.close()


GOOD = {"x-ms-request-id": "1", "x-ms-client-request-id": "=", "ETag": '"0x1"'}
FOREIGN: dict[str, Mapping[str, str]] = {
    "a portal's": {"Content-Type": "text/html"},
    "without a number": {"ETag": '"0x1"'},
    "to another request": {**GOOD, "x-ms-client-request-id": "another"},
    "without an ETag": {"x-ms-request-id": "1", "x-ms-client-request-id": "="},
    "of another content": {**GOOD, "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_an_answer_that_does_not_prove_to_be_azures_is_none(headers: Mapping[str, str]) -> None:
    with answering(headers, b"content") as client, pytest.raises(StoreUnavailable, match="not Azure's"):
        client.read("k.lock", 100)


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<EnumerationResults>", b"<!DOCTYPE x><EnumerationResults/>"])
def test_a_listing_that_is_none_is_no_answer(body: bytes) -> None:
    with answering(GOOD, body) as client, pytest.raises(StoreUnavailable, match="not Azure's"):
        list(client.listed(""))


def test_what_is_said_of_a_blob_is_read_from_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(GOOD) as client:
        headers = {"x-ms-request-id": "1", "etag": "1", "x-ms-meta-terraformlockid": "x", "x-ms-lease-status": "locked"}
        monkeypatch.setattr(client.transport, "send", lambda *_: Response(200, headers, b""))
        about = client.about("k")

    assert about is not None
    assert (about.metadata, about.is_leased) == ({"terraformlockid": "x"}, True)
