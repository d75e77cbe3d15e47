from __future__ import annotations

import botocore.exceptions as aws
import pytest

from tfguard.backends.aws.answers import answers
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError

SECRET = "hunter2hunter2"
ANSWERS = [
    ("ConditionalCheckFailedException", 400, Conflict),
    ("PreconditionFailed", 412, Conflict),
    ("NoSuchKey", 404, Conflict),
    ("ConditionalRequestConflict", 409, StoreUnavailable),
    ("InternalServerError", 500, StoreUnavailable),
    ("ServiceUnavailable", 503, StoreUnavailable),
    ("", 502, StoreUnavailable),
    ("ReplicatedWriteConflictException", 400, StoreUnavailable),
    ("RequestTimeout", 400, StoreUnavailable),
    ("ProvisionedThroughputExceededException", 400, StoreUnavailable),
    ("SlowDown", 503, StoreUnavailable),
    ("AccessDeniedException", 400, ActionDenied),
    ("AccessDenied", 403, ActionDenied),
    ("", 403, ActionDenied),
    ("UnrecognizedClientException", 400, StoreDenied),
    ("InvalidSignatureException", 400, StoreDenied),
    ("RequestTimeTooSkewed", 403, StoreDenied),
    ("ExpiredTokenException", 400, StoreDenied),
    ("ExpiredToken", 400, StoreDenied),
    ("ResourceNotFoundException", 400, StoreMisconfigured),
    ("NoSuchBucket", 404, StoreMisconfigured),
    ("PermanentRedirect", 301, StoreMisconfigured),
    ("AuthorizationHeaderMalformed", 400, StoreMisconfigured),
    ("NotImplemented", 501, StoreMisconfigured),
    ("404", 404, StoreMisconfigured),
    ("ValidationException", 400, StoreMisconfigured),
]
FAILURES = [
    (aws.ReadTimeoutError(endpoint_url="https://x"), StoreUnavailable),
    (aws.EndpointConnectionError(endpoint_url="https://x"), StoreUnavailable),
    (aws.ConnectionClosedError(endpoint_url="https://x"), StoreUnavailable),
    (aws.SSLError(endpoint_url="https://x", error="certificate"), StoreUnavailable),
    (aws.CredentialRetrievalError(provider="iam-role", error_msg="timeout"), StoreUnavailable),
    (aws.NoCredentialsError(), StoreDenied),
    (aws.UnauthorizedSSOTokenError(), StoreDenied),
    (aws.ProfileNotFound(profile="ops"), StoreMisconfigured),
    (aws.NoRegionError(), StoreMisconfigured),
    (aws.ParamValidationError(report="x" * 500), StoreMisconfigured),
]


def answer(code: str, status: int, words: str = "no") -> aws.ClientError:
    response = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return aws.ClientError(response, "PutItem")


def translated(error: Exception, resource: str = "DynamoDB table locks") -> Exception:
    with pytest.raises((TfguardError, Conflict)) as caught, answers("dynamodb:PutItem", resource, "eu-west-1"):
        raise error
    return caught.value


@pytest.mark.parametrize(("code", "status", "kind"), ANSWERS)
def test_each_answer_becomes_one_of_ours(code: str, status: int, kind: type[Exception]) -> None:
    assert type(translated(answer(code, status))) is kind


@pytest.mark.parametrize(("error", "kind"), FAILURES, ids=lambda value: type(value).__name__)
def test_each_failure_becomes_one_of_ours(error: Exception, kind: type[Exception]) -> None:
    assert type(translated(error)) is kind


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"]
)
def test_throttling_is_marked(code: str) -> None:
    error = translated(answer(code, 400))

    assert isinstance(error, StoreUnavailable)
    assert error.is_throttled


def test_an_expired_token_is_no_denial_for_good() -> None:
    error = translated(answer("ExpiredTokenException", 400))

    assert isinstance(error, StoreDenied)
    assert error.is_expired


def test_a_denial_names_action_and_resource_and_quotes_aws() -> None:
    error = translated(answer("AccessDeniedException", 400, "User: arn:aws:iam::1:user/ci is not authorized"))

    assert isinstance(error, StoreDenied)
    assert (error.action, error.resource, error.is_expired) == ("dynamodb:PutItem", "DynamoDB table locks", False)
    assert str(error).splitlines() == [
        "AWS denies dynamodb:PutItem on DynamoDB table locks (AccessDeniedException).",
        "AWS says: User: arn:aws:iam::1:user/ci is not authorized",
        "Allow dynamodb:PutItem for these credentials.",
    ]


@pytest.mark.parametrize("words", ["The provided key element does not match the schema", "Missing the key lockid in"])
def test_another_key_schema_is_explained(words: str) -> None:
    error = translated(answer("ValidationException", 400, words))

    assert "named exactly LockID" in str(error)


def test_missing_credentials_say_where_one_can_put_them() -> None:
    assert "AWS_ACCESS_KEY_ID" in str(translated(aws.NoCredentialsError()))


def test_a_wrong_signature_is_never_quoted() -> None:
    """AWS repeats the canonical request there, session token included."""
    error = translated(answer("InvalidSignatureException", 400, f"x-amz-security-token:{SECRET}"))

    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "error",
    [
        *(answer(code, status, "w" * 500 + "\x1b[31m\n") for code, status, _ in ANSWERS),
        *(error for error, _ in FAILURES),
    ],
    ids=str,
)
def test_no_message_is_longer_than_three_lines_of_120_columns(error: Exception) -> None:
    translation = translated(error, f"s3://{'b' * 63}/{'k' * 300}")
    if isinstance(translation, Conflict):
        pytest.skip("never shown")

    lines = str(translation).splitlines()

    assert 1 <= len(lines) <= 3
    assert all(len(line) <= 120 and line.isprintable() for line in lines)
