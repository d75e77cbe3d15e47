"""
What AWS's answers mean to us: the one place where AWS's refusals, and botocore's errors, become ours.

Only what says "no" for certain ends waiting; whatever leaves open if a write landed is StoreUnavailable. AWS's own
words are quoted where it denies an action, since they name the missing permission; never for a wrong signature, where
they repeat the request's headers, session token included.

    answer                                                        becomes
    ------------------------------------------------------------  ----------------------------------------------------
    ConditionalCheckFailed, 412; NoSuchKey                        Conflict
    409 ConditionalRequestConflict ("again")                      StoreUnavailable: the caller reads
    throttling                                                    StoreUnavailable, is_throttled
    5xx, timeouts, connections, half an answer                    StoreUnavailable
    whatever AWS has not given: a page, another type, no proof    StoreUnavailable
    AccessDenied                                                  ActionDenied
    unknown key, wrong signature or clock                         StoreDenied
    expired token, expired SSO session                            StoreDenied, is_expired
    no table, no bucket, another key schema or region, 501, 4xx   StoreMisconfigured
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfguard.backends.net.no_answer import NoAnswer
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError
from tfguard.text import printable

#: Of a page that somebody between has sent, so much is looked at: long enough for its title.
_PAGE_BYTES = 2048
_PAGE = re.compile(r"\s*<(?:!doctype html|html|head|body)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>([^<]+)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")

WHERE_CREDENTIALS_COME_FROM = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is given (OIDC, EC2, ECS)."
)

_CONFLICT = {"ConditionalCheckFailedException", "PreconditionFailed", "412"}
#: Never a bare 404: that is some other web server at a wrong address.
_ABSENT = {"NoSuchKey", "NoSuchVersion"}
_AGAIN = {
    "ConditionalRequestConflict",
    "OperationAborted",
    "TransactionConflictException",
    "ReplicatedWriteConflictException",
    "RequestTimeout",
}
_THROTTLED = {
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "SlowDown",
    "429",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "Forbidden", "403"}
_UNKNOWN_KEY = {
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
}
_SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
#: What DynamoDB, and DynamoDB Local, say of a table whose key is not `LockID`.
_OTHER_KEY = ("key element", "Missing the key", "required keys", "mismatch for key", "on the keys")
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307"}
_MISSING = {
    "ResourceNotFoundException": (
        "Create it (tfguard bootstrap), or correct its name or the region ({region}) in the backend."
    ),
    "NoSuchBucket": "Create it (tfguard bootstrap), or correct `bucket` in the backend.",
}


class AwsError(Exception):
    """AWS refuses, in its own words: `response` has them where botocore's ClientError has them."""

    def __init__(self, code: str, words: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.response = {
            "Error": {"Code": code, "Message": words},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


class NotAws(Exception):
    """
    Something answered, but nothing proves that it was AWS. The text says what is wrong with it; `page`, with which
    status and words somebody between us and AWS has answered, where it looks so.
    """

    def __init__(self, wrong: str, page: str = "") -> None:
        super().__init__(wrong)
        self.page = page


def page_in(status: int, kind: str, body: bytes) -> str:
    """Say `403 and a page: Access denied` of an answer that is for people, or empty; nothing of any other."""
    begin = body[:_PAGE_BYTES].decode("utf-8", "replace")
    is_page = "html" in kind.lower() or _PAGE.match(begin) is not None
    if not is_page and (status < 300 or (begin and not kind.lower().startswith("text/plain"))):
        return ""
    title = _TITLE.search(begin)
    words = printable(" ".join((title[1] if title else _TAG.sub(" ", begin)).split()), 50)
    if not words:
        return f"{status} and an empty page"
    return f"{status} and a page: {words}"


@contextmanager
def answers(action: str, resource: str, region: str = "") -> Iterator[None]:
    """
    Turn AWS's refusals into our errors: `action` is `s3:PutObject`, `resource` what it is done to, for people.

    Whatever else goes wrong in here is no answer: a keeper waits and asks again, it never ends for one.

    Raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    try:
        yield
    except (TfguardError, Conflict):
        raise
    except AwsError as error:
        raise _from_answer(error.response, action, resource, region) from error
    except NotAws as error:
        if error.page:
            raise StoreUnavailable(
                lines_of(
                    f"Something between us and AWS answered {action} with {error.page}",
                    f"It is no answer of AWS's about {resource}: see to the proxy, the firewall or the endpoint.",
                )
            ) from error
        raise StoreUnavailable(
            lines_of(f"No answer to {action} on {resource}: what came is not AWS's: {error}")
        ) from error
    except NoAnswer as error:
        raise StoreUnavailable(lines_of(f"No answer to {action} on {resource}: {error}")) from error
    except Exception as error:
        raise _from_botocore(error, action, resource, region) from error


def _from_botocore(error: Exception, action: str, resource: str, region: str) -> Exception:
    import botocore.exceptions as aws

    if isinstance(error, aws.ClientError):
        return _from_answer(error.response, action, resource, region)
    return _from_failure(error, action, resource)


def no_credentials() -> StoreDenied:
    """What to raise where AWS credentials were looked for and there are none."""
    return StoreDenied(
        lines_of("There are no AWS credentials.", WHERE_CREDENTIALS_COME_FROM),
        action="sign",
        resource="AWS credentials",
    )


def code_of(error: TfguardError) -> str:
    """AWS's own code for what became `error` (`NoSuchBucket`), empty where it was no answer of AWS's."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def lines_of(*lines: str) -> str:
    """Join the lines of a message, each safe for a terminal and at most 120 columns."""
    return "\n".join(printable(" ".join(line.split()), 120) for line in lines)


def _from_answer(response: Mapping[str, Any], action: str, resource: str, region: str) -> Exception:
    error = response.get("Error", {})
    code, words = str(error.get("Code", "")), str(error.get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in _CONFLICT or status == 412:
        return Conflict(f"{action} on {resource}: {code}")
    if code in _THROTTLED or status == 429:
        return StoreUnavailable(lines_of(f"AWS throttles {action} on {resource} ({code})."), is_throttled=True)
    if code in _EXPIRED:
        return _denied(action, resource, f"The AWS credentials have expired ({code}).", is_expired=True)
    if code in _DENIED | _UNKNOWN_KEY | _SKEWED or status in {401, 403}:
        return _refused(code or str(status), words, action, resource)
    if code in _AGAIN or (status >= 500 and status != 501):
        return StoreUnavailable(lines_of(f"{action} on {resource} failed ({code or status}): no usable answer."))
    if code in _ABSENT:
        return Conflict(f"{action} on {resource}: {code}")
    return _misconfigured(code or str(status), words, action, resource, region)


def _refused(code: str, words: str, action: str, resource: str) -> StoreDenied:
    if code in _SKEWED:
        return _denied(action, resource, f"AWS refuses the time of this machine ({code}).", "Set its clock.")
    if code in _UNKNOWN_KEY:
        return _denied(
            action,
            resource,
            f"AWS does not accept these credentials ({code}).",
            "Check the access key, its secret and session token, and the profile they come from.",
        )
    first = f"AWS denies {action} on {resource} ({code})."
    quoted = [f"AWS says: {words}"] if words and words != "Access Denied" else []
    lines = (first, *quoted, f"Allow {action} for these credentials.")
    return ActionDenied(lines_of(*lines), action=action, resource=resource)


def _denied(action: str, resource: str, *lines: str, is_expired: bool = False) -> StoreDenied:
    if is_expired:
        lines = (*lines, f"Renew them; {action} on {resource} was refused.")
    return StoreDenied(lines_of(*lines), action=action, resource=resource, is_expired=is_expired)


def _misconfigured(code: str, words: str, action: str, resource: str, region: str) -> StoreMisconfigured:
    if code in _MISSING:
        return StoreMisconfigured(lines_of(f"There is no {resource} ({code}).", _MISSING[code].format(region=region)))
    if code == "ValidationException" and any(sign in words for sign in _OTHER_KEY):
        return StoreMisconfigured(
            lines_of(
                f"{resource} cannot hold Terraform's locks: its key is another one.",
                "It needs a single hash key of type string, named exactly LockID (upper and lower case matter).",
            )
        )
    if code in _ELSEWHERE:
        return StoreMisconfigured(
            lines_of(f"{resource} is in another region than {region} ({code}).", "Correct `region` in the backend.")
        )
    if code in {"NotImplemented", "501"}:
        return StoreMisconfigured(
            lines_of(
                f"{resource}: this server cannot do {action} on a condition ({code}).",
                "Without that a lock could be held twice. Use another server, or lock.mode: named.",
            )
        )
    return StoreMisconfigured(lines_of(f"AWS rejects {action} on {resource} ({code}).", f"AWS says: {words}"))


def _from_failure(error: Exception, action: str, resource: str) -> Exception:
    """Where there was no answer, or no request: botocore's own errors. Their texts name endpoints, never secrets."""
    import botocore.exceptions as aws
    from urllib3.exceptions import HTTPError

    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError)):
        return no_credentials()
    if isinstance(error, (aws.SSOError, aws.LoginError) if hasattr(aws, "LoginError") else aws.SSOError):
        return _denied(action, resource, f"The AWS SSO session cannot be used: {error}", is_expired=True)
    if isinstance(error, aws.ProfileNotFound):
        return StoreMisconfigured(
            lines_of(f"{error}.", "Correct `profile` or AWS_PROFILE, or add it to ~/.aws/config.")
        )
    if isinstance(error, aws.NoRegionError):
        return StoreMisconfigured(lines_of("No AWS region is set.", "Set `region` in the backend, or AWS_REGION."))
    if isinstance(error, (aws.CredentialRetrievalError, aws.MetadataRetrievalError)):
        return StoreUnavailable(lines_of(f"AWS credentials cannot be had just now: {error}"))
    if isinstance(error, (aws.ParamValidationError, aws.ConfigParseError, aws.ConfigNotFound, aws.InvalidRegionError)):
        return StoreMisconfigured(lines_of(f"{action} on {resource} cannot be asked: {error}"))
    if isinstance(error, (aws.InvalidConfigError, aws.UnknownEndpointError, aws.InfiniteLoopConfigError)):
        return StoreMisconfigured(lines_of(f"The AWS configuration cannot be used: {error}"))
    # Of what nobody foresaw only the kind is said: its text might repeat a header.
    known = isinstance(error, (aws.BotoCoreError, HTTPError))
    return StoreUnavailable(
        lines_of(f"No answer to {action} on {resource}: {error if known else type(error).__name__}")
    )
