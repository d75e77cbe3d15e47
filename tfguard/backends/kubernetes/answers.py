"""
What the API server's answers mean to us.

Only what says "no" for certain ends waiting; whatever leaves open if a write landed is StoreUnavailable.

    answer                                          becomes
    ----------------------------------------------  ------------------------------
    404 of the object that was asked for            none there; Conflict to a write
    409 Conflict, AlreadyExists                     Conflict
    403                                             ActionDenied
    401                                             StoreDenied
    404 of the namespace, or of the API; 400, 422   StoreMisconfigured
    429                                             StoreUnavailable, is_throttled
    5xx, timeouts, connections, half an answer      StoreUnavailable
    whatever is no Status of Kubernetes'            StoreUnavailable
"""

from __future__ import annotations

import msgspec

from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

WHERE_CREDENTIALS_COME_FROM = "See `config_path` and `token` in the backend, KUBE_CONFIG_PATH and KUBE_TOKEN."


class Absent(Conflict):
    """There is no such object, so it is not as it was seen either."""


class _Details(msgspec.Struct, frozen=True):
    name: str = ""
    kind: str = ""


class _Status(msgspec.Struct, frozen=True):
    kind: str
    code: int
    reason: str = ""
    message: str = ""
    details: _Details | None = None


def refusal(response: Response, url: str, verb: str, resource: str, name: str, *, was_good: bool) -> Exception:
    """Return what an answer becomes that is no success to `verb` on `name`, one of the `resource`s."""
    status = response.status
    if status == 429:
        return StoreUnavailable(f"Kubernetes at {url} is asked too often.", is_throttled=True)
    if status >= 500 or status == 408:
        return StoreUnavailable(f"Kubernetes at {url} has no answer ({status}).")
    try:
        said = parse(response.body, _Status)
    except msgspec.DecodeError:
        return not_kubernetes(url)
    if said.kind != "Status" or said.code != status:
        return not_kubernetes(url)
    return _refused(said, url, verb, resource, name, was_good=was_good)


def _refused(said: _Status, url: str, verb: str, resource: str, name: str, *, was_good: bool) -> Exception:
    words = printable(" ".join(said.message.split()), 160).rstrip(".")
    details = said.details or _Details()
    where = f"{resource} {name}".strip()
    if said.code == 409:
        return Conflict(words)
    if said.code == 404 and details.kind == resource and details.name == name:
        return Absent(words)
    if said.code == 403:
        return ActionDenied(
            f"Kubernetes denies {verb} on {where}: {words}.",
            f"Allow it in the Role. {WHERE_CREDENTIALS_COME_FROM}",
            action=f"{resource}:{verb}",
            resource=where,
        )
    if said.code == 401:
        what = "have expired" if was_good else "are not taken"
        return StoreDenied(
            f"The credentials for Kubernetes {what} ({url}).",
            WHERE_CREDENTIALS_COME_FROM,
            action=f"{resource}:{verb}",
            resource=where,
            is_expired=was_good,
        )
    return StoreMisconfigured(
        f"Kubernetes at {url} cannot {verb} {printable(where, 80)}: {words}.",
        "Correct `namespace`, `secret_suffix` and the cluster in the backend.",
    )


def unreachable(url: str, error: Exception) -> StoreUnavailable:
    """Return what no answer becomes."""
    return StoreUnavailable(
        f"No answer from Kubernetes at {url}: {printable(str(error), 160)}.",
        "See the cluster in the kubeconfig, `host` in the backend, and whether it can be reached from here.",
    )


def not_kubernetes(url: str) -> StoreUnavailable:
    """Return what an answer becomes that no API server has given: a portal's, another server's."""
    return StoreUnavailable(
        f"What answers at {url} is not Kubernetes.",
        "See the cluster in the kubeconfig, `host` in the backend, and the proxies.",
    )
