"""
What Google's answers mean to us.

Only what says "no" for certain ends waiting; whatever leaves open if a write landed is StoreUnavailable. A refusal
counts only if it is Google's: JSON with an `error` that repeats the status.

    answer                                                        becomes
    ------------------------------------------------------------  ----------------------------------------------------
    412, 304; 404 of an object                                    Conflict
    404 of a bucket; 400, 405, 411, 413; what a retention forbids StoreMisconfigured
    401                                                           StoreDenied, is_expired if it was good before
    403                                                           ActionDenied
    403 for a rate or quota, 429                                  StoreUnavailable, is_throttled
    408, 409, 5xx, timeouts, connections, half an answer          StoreUnavailable
    whatever does not prove that Google has given it              StoreUnavailable
"""

from __future__ import annotations

import msgspec

from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

WHERE_CREDENTIALS_COME_FROM = (
    "Set GOOGLE_CREDENTIALS or GOOGLE_OAUTH_ACCESS_TOKEN, or run: gcloud auth application-default login"
)
_RATES = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "dailyLimitExceeded",
    "concurrentLimitExceeded",
}
_KEPT = {"retentionPolicyNotMet", "objectUnderActiveHold", "objectRetentionNotMet"}


class _Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str = ""
    errors: list[_Reason] = []

    @property
    def reason(self) -> str:
        return self.errors[0].reason if self.errors else ""


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


def not_googles(action: str, resource: str, why: str) -> StoreUnavailable:
    """What to raise where something answered, and nothing proves that it was Google."""
    return StoreUnavailable(
        lines_of(f"No answer from Google (what came is not Google's: {why}): {action} on {resource}")
    )


def unanswered(action: str, resource: str, error: Exception) -> StoreUnavailable:
    """What to raise where nothing answered."""
    return StoreUnavailable(lines_of(f"No answer from Google ({error}): {action} on {resource}"))


def refusal(response: Response, action: str, resource: str, *, was_good: bool) -> Exception:
    """
    Return what an answer becomes that is no success.

    `action` is the permission that the request needs, `resource` what it is about, for people; `was_good` says whether
    these credentials have been accepted before.
    """
    status = response.status
    if status == 429 or status >= 500 or status in (408, 409):
        said = f"{action} on {resource} failed ({status})"
        if status == 429:
            return StoreUnavailable(lines_of(f"Google throttles {action} on {resource} ({status})."), is_throttled=True)
        return StoreUnavailable(lines_of(f"{said}: no usable answer."))
    if status == 304:
        return Conflict(f"{action} on {resource}: {status}")
    try:
        error = parse(response.body, _Refusal).error
    except msgspec.DecodeError:
        return not_googles(action, resource, f"it is no refusal of Google's ({status})")
    if error.code != status:
        return not_googles(action, resource, f"it says {error.code} and is {status}")
    return _refused(error, action, resource, was_good=was_good)


def _refused(error: _Error, action: str, resource: str, *, was_good: bool) -> Exception:
    words = f"Google says: {error.message}"
    if error.code == 412:
        return Conflict(f"{action} on {resource}: {error.reason}")
    if error.code == 404:
        if "bucket" not in error.message.lower() or "No such object" in error.message:
            return Conflict(f"{action} on {resource}: absent")
        return StoreMisconfigured(
            lines_of(f"There is no bucket for {resource}.", "Create it, or correct `bucket` in the backend.")
        )
    if error.code == 401:
        first = "The credentials for Google have expired" if was_good else "Google does not accept these credentials"
        return StoreDenied(
            lines_of(f"{first} ({error.reason or error.code}).", WHERE_CREDENTIALS_COME_FROM),
            action=action,
            resource=resource,
            is_expired=was_good,
        )
    if error.code == 403 and error.reason in _RATES:
        return StoreUnavailable(lines_of(f"Google throttles {action} on {resource}."), is_throttled=True)
    if error.code == 403 and error.reason in _KEPT:
        return StoreMisconfigured(
            lines_of(
                f"{resource} may not be changed: the bucket keeps what is written ({error.reason}).",
                "Locks cannot be released there, nor can Terraform's own. Take the bucket's retention off.",
            )
        )
    if error.code == 403:
        return ActionDenied(
            lines_of(f"Google denies {action} on {resource}.", words, f"Allow {action} for these credentials."),
            action=action,
            resource=resource,
        )
    return StoreMisconfigured(lines_of(f"Google rejects {action} on {resource} ({error.code}).", words))


def lines_of(*lines: str) -> str:
    """Join the lines of a message, each safe for a terminal and at most 120 columns."""
    return "\n".join(printable(" ".join(line.split()), 120) for line in lines)
