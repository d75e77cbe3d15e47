"""
The API of HCP Terraform, as far as a workspace's lock needs it.

    answer                                             becomes
    -------------------------------------------------  -------------------------------------------------------------
    409 to a lock or an unlock                         Conflict; StoreUnavailable while a state is still being saved
    401                                                StoreDenied
    403                                                ActionDenied
    404                                                StoreMisconfigured: nothing there, or nothing that we may see
    408, 429, 5xx, timeouts, connections               StoreUnavailable
    what is no document of the API                     StoreUnavailable
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urljoin

import msgspec

from tfguard.backends.hcp.tokens import find_token
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.hcp.spec import HcpAccess

_MAX_BYTES = 4 * 1024 * 1024
#: In the answer to an unlock that comes too early; go-tfe knows it by the same words.
_PENDING = b"still pending"
#: More pages than any organization has.
_MAX_PAGES = 1000
_T = TypeVar("_T")


class Attributes(msgspec.Struct, frozen=True, rename="kebab"):
    """What a workspace says of itself."""

    name: str
    locked: bool
    execution_mode: str = "remote"
    locked_reason: str | None = None
    #: What our token may do there, by HCP Terraform's own names (`can-lock`); None where it does not say.
    permissions: dict[str, bool] | None = None


class _Reference(msgspec.Struct, frozen=True):
    id: str = ""
    type: str = ""


class _Related(msgspec.Struct, frozen=True):
    data: _Reference | None = None


class _Relations(msgspec.Struct, frozen=True, rename="kebab"):
    locked_by: _Related | None = None


class Workspace(msgspec.Struct, frozen=True):
    """A workspace. `id` is its own, whatever it is called."""

    id: str
    attributes: Attributes
    relationships: _Relations = _Relations()

    @property
    def holder(self) -> str:
        """Who has locked it, as HCP Terraform knows them."""
        related = self.relationships.locked_by
        return related.data.id if related and related.data else ""


class _Document(msgspec.Struct, frozen=True):
    data: Workspace


class _Pagination(msgspec.Struct, frozen=True, rename="kebab"):
    next_page: int | None = None


class _Meta(msgspec.Struct, frozen=True):
    pagination: _Pagination = _Pagination()


class _Workspaces(msgspec.Struct, frozen=True):
    data: list[Workspace]
    meta: _Meta = _Meta()


class Client:
    """
    One host, by the environment of this process.

    Raises StoreDenied: There is no token for it.
    """

    def __init__(self, access: HcpAccess, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._host = access.host
        self._token, self.token_source = find_token(access.host, access.token, environ)
        self._base = ""
        self.transport = Transport(Proxies(environ), Trust(environ))
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self.transport.close()

    def workspace(self, organization: str, name: str) -> Workspace:
        """Return a workspace. Raises as a store does."""
        path = f"organizations/{quote(organization, safe='')}/workspaces/{quote(name, safe='')}"
        return self._read(self._ask("GET", path, b""), _Document).data

    def workspaces(self, organization: str) -> Iterator[Workspace]:
        """Give all workspaces that our token sees, page by page. Raises as a store does."""
        page: int | None = 1
        for _ in range(_MAX_PAGES):
            path = f"organizations/{quote(organization, safe='')}/workspaces?page%5Bnumber%5D={page}&page%5Bsize%5D=100"
            found = self._read(self._ask("GET", path, b""), _Workspaces)
            yield from found.data
            page = found.meta.pagination.next_page
            if page is None:
                return

    def may_run(self, organization: str) -> bool:
        """Whether the organization's plan has runs on HCP Terraform at all. Raises as a store does."""
        response = self._ask("GET", f"organizations/{quote(organization, safe='')}/entitlement-set", b"")
        found = self._read(response, dict[str, Any])
        try:
            return bool(found["data"]["attributes"]["operations"])
        except (KeyError, TypeError):
            return True

    def api_version(self) -> str:
        """Return which version of the API is spoken, empty where it does not say. Raises as a store does."""
        return self._ask("GET", "ping", b"", (200, 204)).headers.get("tfp-api-version", "")

    def lock(self, workspace_id: str, reason: str) -> Workspace:
        """Lock a workspace. Raises Conflict, and as a store does."""
        return self._act(workspace_id, "lock", publish({"reason": reason}))

    def unlock(self, workspace_id: str, *, is_forced: bool = False) -> None:
        """Unlock a workspace that we have locked; `is_forced`: whoever has. Raises Conflict, and as a store does."""
        self._act(workspace_id, "force-unlock" if is_forced else "unlock", b"{}")

    def _act(self, workspace_id: str, action: str, body: bytes) -> Workspace:
        response = self._ask("POST", f"workspaces/{quote(workspace_id, safe='')}/actions/{action}", body)
        found = self._read(response, _Document).data
        if found.id != workspace_id or found.attributes.locked is not (action == "lock"):
            raise self._foreign()
        return found

    def _ask(self, method: str, path: str, body: bytes, expected: tuple[int, ...] = (200,)) -> Response:
        if not self._base:
            self._base = self._discover()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/vnd.api+json"}
        if body:
            headers["Content-Type"] = "application/vnd.api+json"
        response = self._send(Request(method, urljoin(self._base, path), headers, body))
        if response.status == 409 and _PENDING in response.body:
            raise StoreUnavailable("HCP Terraform is still saving the workspace's last state.")
        if response.status == 409:
            raise Conflict(f"{path}: 409")
        if response.status not in expected:
            raise self._refusal(response.status, f"{method} {path}")
        self.date = response.date
        return response

    def _discover(self) -> str:
        """Where the API is, as the host itself says."""
        start = f"https://{self._host}/.well-known/terraform.json"
        response = self._send(Request("GET", start, {"Accept": "application/json"}))
        if response.status != 200:
            raise self._refusal(response.status, "GET /.well-known/terraform.json")
        found = self._read(response, dict[str, Any]).get("tfe.v2")
        if not isinstance(found, str):
            raise StoreMisconfigured(f"{printable(self._host, 60)} is no HCP Terraform, nor Terraform Enterprise.")
        base = urljoin(start, found)
        if not base.startswith(f"https://{self._host}/"):
            raise self._foreign()  # Our token is for this host alone.
        return base if base.endswith("/") else f"{base}/"

    def _send(self, request: Request) -> Response:
        self.date = None
        headers = {"User-Agent": "tfguard", "Accept-Encoding": "identity", **request.headers}
        try:
            return self.transport.send(Request(request.method, request.url, headers, request.body), _MAX_BYTES)
        except (NoAnswer, ssl.SSLError) as error:
            raise StoreUnavailable(
                f"No answer from {printable(self._host, 60)}: {printable(str(error), 160)}.",
                "See whether that host can be reached from here.",
            ) from error

    def _read(self, response: Response, kind: type[_T]) -> _T:
        try:
            return parse(response.body, kind)
        except msgspec.DecodeError as error:
            raise self._foreign() from error

    def _foreign(self) -> StoreUnavailable:
        return StoreUnavailable(f"What answers for {printable(self._host, 60)} is not HCP Terraform.")

    def _refusal(self, status: int, action: str) -> Exception:
        host, action = printable(self._host, 60), printable(action, 100)
        if status == 401:
            advice = f"Run: terraform login {host}"
            return StoreDenied(f"{host} does not accept this token (401).", advice, action=action, resource=host)
        if status == 403:
            what = f"{host} denies {action} (403)."
            return ActionDenied(what, "Allow it for the token's user or team.", action=action, resource=host)
        if status == 404:
            advice = "Create it (terraform init), or let the token see it."
            return StoreMisconfigured(f"{host} knows no {action.partition(' ')[2]}, or not for us (404).", advice)
        if status in (408, 429) or status >= 500:
            text = f"{host} has no answer to {action} ({status})."
            return StoreUnavailable(text, is_throttled=status == 429)
        return StoreMisconfigured(f"{host} cannot do {action} ({status}).")
