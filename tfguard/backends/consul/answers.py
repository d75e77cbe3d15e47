"""
What Consul's answers mean to us.

Only what says "no" for certain ends waiting; whatever leaves open if a write landed is StoreUnavailable.

    answer                                                        becomes
    ------------------------------------------------------------  ----------------------------------------------------
    409 to a transaction, for another's lock or an old index      Conflict
    409, for a lock-delay: nobody has it, nobody may take it yet  Conflict
    409 "Permission denied", 403                                  ActionDenied
    403 "ACL not found", 401                                      StoreDenied
    400, 413; 500 "No path to datacenter"                         StoreMisconfigured
    429                                                           StoreUnavailable, is_throttled
    other 5xx, timeouts, connections, half an answer              StoreUnavailable
    whatever does not prove that Consul has given it              StoreUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

if TYPE_CHECKING:
    from tfguard.backends.consul.spec import ConsulAccess

WHERE_TOKENS_COME_FROM = "Set CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, or `access_token` in the backend."
#: Why a transaction fails whose condition does not hold.
_CONFLICTS = (
    "already held",
    "index is stale",
    "index check",
    "check session",
    "session check",
    "invalid session",
    "doesn't exist",
    "isn't held",
    "is not held",
    "lock delay",
    "already exists",
)


class _Failed(msgspec.Struct, frozen=True, rename="pascal"):
    errors: list[_What]


class _What(msgspec.Struct, frozen=True, rename="pascal"):
    what: str


def refusal(response: Response, access: ConsulAccess, action: str, resource: str) -> Exception:
    """Return what an answer becomes that is no success; `action` and `resource` name the permission it needed."""
    said = _said(response)
    words = said.lower()
    if response.status in (409, 403) and "permission denied" in words:
        return ActionDenied(
            f"Consul denies {action} on {resource}: {printable(said, 160)}.",
            f"Allow it in the token's policy. {WHERE_TOKENS_COME_FROM}",
            action=action,
            resource=resource,
        )
    if response.status == 409 and any(reason in words for reason in _CONFLICTS):
        return Conflict(said)
    if response.status in (401, 403):
        what = f"Consul at {access.url} does not know this token: {printable(said, 100)}."
        if response.status == 401:
            what = f"{access.url} wants a user and a password."
        advice = "Set CONSUL_HTTP_AUTH, or `http_auth` in the backend." if response.status == 401 else ""
        return StoreDenied(what, advice or WHERE_TOKENS_COME_FROM, action=action, resource=resource)
    if response.status in (400, 413) or (response.status == 500 and "no path to datacenter" in words):
        return StoreMisconfigured(
            f"Consul at {access.url} cannot do this: {printable(said, 160)}.",
            "Correct `address`, `scheme`, `datacenter` and `path` in the backend.",
        )
    if response.status == 429:
        return StoreUnavailable(f"Consul at {access.url} is asked too often.", is_throttled=True)
    if response.status >= 500:
        return StoreUnavailable(f"Consul at {access.url} has no answer: {printable(said, 100)}.")
    return not_consul(access.url)


def unreachable(url: str, error: Exception) -> StoreUnavailable:
    """Return what no answer becomes."""
    return StoreUnavailable(
        f"No answer from Consul at {url}: {printable(str(error), 160)}.",
        "See `address` in the backend or CONSUL_HTTP_ADDR, and whether that server can be reached from here.",
    )


def not_consul(url: str) -> StoreUnavailable:
    """Return what an answer becomes that Consul has not given: a portal's, another server's."""
    return StoreUnavailable(
        f"What answers at {url} is not Consul.", "See `address` in the backend or CONSUL_HTTP_ADDR, and the proxies."
    )


def _said(response: Response) -> str:
    """The server's own words, in one line."""
    try:
        failed: Any = parse(response.body, _Failed)
        text = "; ".join(dict.fromkeys(each.what for each in failed.errors))
    except msgspec.DecodeError:
        text = response.body[:400].decode("utf-8", "replace")
    return " ".join(text.split()).rstrip(".") or f"status {response.status}"
