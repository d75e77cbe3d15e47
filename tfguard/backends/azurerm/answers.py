"""
What Azure's answers mean to us.

Only what says "no" for certain ends waiting; whatever leaves open if a write landed is StoreUnavailable. An answer
counts only if it is Azure's: it has a number of its own and repeats the one that we gave our request.

    answer                                                        becomes
    ------------------------------------------------------------  ----------------------------------------------------
    404 of a blob; 412; 409 of a blob that is there, or is leased Conflict
    404 of a container; 400, 405, 411, 413; what may not change   StoreMisconfigured
    401; 403 for a signature, a key or a token                    StoreDenied, is_expired if it was good before
    403 for a permission                                          ActionDenied
    429, 503 for being busy                                       StoreUnavailable, is_throttled
    408, other 409, 5xx, timeouts, connections, half an answer    StoreUnavailable
    whatever does not prove that Azure has given it               StoreUnavailable
"""

from __future__ import annotations

import re

from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable

WHERE_CREDENTIALS_COME_FROM = (
    "Set ARM_ACCESS_KEY or ARM_SAS_TOKEN, or ARM_USE_AZUREAD=true with who you are; or run: az login"
)
_PERMISSIONS = {
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "AuthorizationProtocolMismatch",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationServiceMismatch",
    "AuthorizationSourceIPMismatch",
    "InsufficientAccountPermissions",
    "UnauthorizedBlobOverwrite",
}
_KEPT = {"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"}
_CONFLICTS = {"BlobAlreadyExists", "BlobNotFound", "ConditionNotMet", "TargetConditionNotMet", "ResourceNotFound"}
_NO_PLACE = {"ContainerNotFound", "ContainerDisabled", "AccountIsDisabled", "ResourceTypeMismatch"}


def not_azures(action: str, resource: str, why: str) -> StoreUnavailable:
    """What to raise where something answered, and nothing proves that it was Azure."""
    return StoreUnavailable(lines_of(f"No answer from Azure (what came is not Azure's: {why}): {action} on {resource}"))


def unanswered(action: str, resource: str, error: Exception) -> StoreUnavailable:
    """What to raise where nothing answered."""
    return StoreUnavailable(lines_of(f"No answer from Azure ({error}): {action} on {resource}"))


def refusal(response: Response, action: str, resource: str, *, was_good: bool) -> Exception:
    """
    Return what an answer becomes that is no success.

    `action` is what the request does, `resource` what it is about, for people; `was_good` says whether these
    credentials have been accepted before.
    """
    status, code = response.status, printable(_code(response), 60)
    about = f"{action} on {resource}"
    if code in _CONFLICTS or code.startswith("Lease") or status in (304, 412):
        return Conflict(f"{about}: {code or status}")
    if status == 429 or code == "ServerBusy":
        return StoreUnavailable(lines_of(f"Azure throttles {about} ({status})."), is_throttled=True)
    if code in _KEPT:
        return StoreMisconfigured(
            lines_of(
                f"{resource} may not be changed: the container keeps what is written ({code}).",
                "Neither locks nor states can be kept there. Take the policy off, or use another container.",
            )
        )
    if code in _NO_PLACE:
        return StoreMisconfigured(
            lines_of(f"There is no such container for {resource} ({code}).", "Create it, or correct the backend.")
        )
    if status == 403 and code in _PERMISSIONS:
        return ActionDenied(
            lines_of(
                f"Azure denies {action} ({code}): {resource}",
                "Allow it: by the role Storage Blob Data Contributor on the container, or by rwdl in a SAS.",
            ),
            action=action,
            resource=resource,
        )
    if status in (401, 403):
        first = "The credentials for Azure have expired" if was_good else "Azure does not accept these credentials"
        return StoreDenied(
            lines_of(f"{first} ({code or status}): {resource}", WHERE_CREDENTIALS_COME_FROM),
            action=action,
            resource=resource,
            is_expired=was_good,
        )
    if status >= 500 or status in (404, 408, 409):
        return StoreUnavailable(lines_of(f"{about} failed ({status} {code}): no usable answer."))
    return StoreMisconfigured(lines_of(f"Azure rejects {about} ({status} {code}).", "Correct the backend."))


def _code(response: Response) -> str:
    """Azure's word for what is wrong: in a header, or where that is missing in the body."""
    if code := response.headers.get("x-ms-error-code", ""):
        return code
    found = re.search(rb"<Code>(\w{1,60})</Code>", response.body[:4096])
    return found[1].decode() if found else ""


def lines_of(*lines: str) -> str:
    """Join the lines of a message, each safe for a terminal and at most 120 columns."""
    return "\n".join(printable(" ".join(line.split()), 120) for line in lines)
