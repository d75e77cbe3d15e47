"""
HCP Terraform, as far as a Terraform needs it whose runs are executed here, within the test's own process, over TLS.

Each rule with its source:

    discovery          `/.well-known/terraform.json` is application/json and names `tfe.v2` (developer.hashicorp.com,
                       "Remote Service Discovery"); `ping` answers with TFP-API-Version (go-tfe, `NewClient`)
    lock               409 if it is locked, be it by the same principal (API page "Workspaces", "Lock a Workspace")
    unlock             409 if it is not locked, or by another principal (the same page); `force-unlock` by whoever may
                       while its latest state version is pending: 409 too (go-tfe, `Workspaces.Unlock`)
    reason             `locked-reason` of the workspace (hashicorp's OpenAPI description of the API)
    state-versions     only from who has locked the workspace, else 409 ("State Versions": "The workspace must be locked
                       by the user creating a state version"); its serial has to be greater (the same page)
    execution-mode     local, remote or agent (API page "Workspaces")
    list               `organizations/O/workspaces`, in pages, each with `meta.pagination.next-page` (the same page)
    permissions        what the token may do with the workspace: `can-lock`, `can-unlock`… (the same page)

`principals` are users by their tokens; `log` has each request.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.authority import Authority

_JSON_API = "application/vnd.api+json"
_PERMISSIONS = ("can-update", "can-lock", "can-unlock", "can-force-unlock", "can-create-state-versions")


@dataclass
class Workspace:
    """A workspace of `ORGANIZATION`, and its states by their serials."""

    id: str
    name: str
    mode: str = "local"
    locked_by: str = ""
    reason: str = ""
    versions: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)
    #: So many unlocks come too early.
    pending: int = 0
    #: What every token may do there; None: the service does not say.
    permissions: dict[str, bool] | None = field(default_factory=lambda: dict.fromkeys(_PERMISSIONS, True))


class Hcp:
    """The service, at `host`."""

    organization = "acme"

    def __init__(self, host: str) -> None:
        self.host = host
        self.principals = {"token-of-ana": "user-ana", "token-of-bob": "user-bob"}
        self.workspaces: dict[str, Workspace] = {}
        self.log: list[str] = []
        self.api_version = "2.6"
        self.turn = threading.Lock()

    def add(self, name: str, mode: str = "local") -> Workspace:
        """Make a workspace."""
        made = self.workspaces[name] = Workspace(f"ws-{len(self.workspaces)}", name, mode)
        return made

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, bytes, str]:
        """Return status, body and its type."""
        self.log.append(f"{method} {path}")
        if path == "/.well-known/terraform.json":
            return 200, b'{"tfe.v2":"/api/v2/","tfe.v2.1":"/api/v2/","tfe.v2.2":"/api/v2/"}', "application/json"
        if path.startswith("/states/"):
            return self._state(method, path, body)
        who = self.principals.get(token)
        if path == "/api/v2/ping":
            return 204, b"", _JSON_API
        if who is None:
            return 401, b'{"errors":[{"status":"401","title":"unauthorized"}]}', _JSON_API
        status, document = self._api(method, path.removeprefix("/api/v2/"), who, body)
        return status, json.dumps(document).encode(), _JSON_API

    def _api(self, method: str, path: str, who: str, body: bytes) -> tuple[int, Any]:
        if path == f"organizations/{self.organization}/entitlement-set":
            rights = dict.fromkeys(("operations", "state-storage", "teams", "agents", "sentinel"), True)
            return 200, {"data": {"id": "org-1", "type": "entitlement-sets", "attributes": rights}}
        if found := re.fullmatch(rf"organizations/{self.organization}/workspaces/([^/?]+)(\?.*)?", path):
            made = self.workspaces.get(found[1])
            return (200, {"data": self._described(made)}) if made else _error(404)
        if found := re.fullmatch(rf"organizations/{self.organization}/workspaces\?page%5Bnumber%5D=(\d+)&.*", path):
            return 200, self._page(int(found[1]))
        if found := re.fullmatch(r"workspaces/([^/]+)/(.+?)(\?.*)?", path):
            made = next((each for each in self.workspaces.values() if each.id == found[1]), None)
            return self._of_workspace(made, method, found[2], who, body) if made else _error(404)
        if found := re.fullmatch(r"state-versions/([^/?]+)(\?.*)?", path):
            each = [one for made in self.workspaces.values() for one in made.versions if one["id"] == found[1]]
            return (200, {"data": each[0]}) if each else _error(404)
        return _error(404)

    def _page(self, number: int) -> dict[str, Any]:
        """Of two: a token sees all of them here."""
        shown = [*map(self._described, self.workspaces.values())]
        next_page = number + 1 if len(shown) > 2 * number else None
        return {"data": shown[2 * number - 2 : 2 * number], "meta": {"pagination": {"next-page": next_page}}}

    def _of_workspace(self, made: Workspace, method: str, what: str, who: str, body: bytes) -> tuple[int, Any]:
        if what == "actions/lock":
            if made.locked_by:
                return _error(409, "already locked")
            made.locked_by, given = who, json.loads(body or b"{}")
            made.reason = given.get("reason") or given.get("data", {}).get("attributes", {}).get("reason", "")
        elif what == "actions/unlock":
            made.pending, is_pending = max(0, made.pending - 1), made.pending > 0
            if is_pending:
                return _error(409, "Unable to unlock workspace. The latest state version is still pending.")
            if made.locked_by != who:
                return _error(409, "not locked, or by another")
            made.locked_by = made.reason = ""
        elif what == "actions/force-unlock":
            made.locked_by = made.reason = ""
        elif what == "current-state-version":
            return (200, {"data": made.versions[-1]}) if made.versions else _error(404)
        elif what == "state-versions" and method == "POST":
            return self._new_version(made, who, json.loads(body)["data"]["attributes"])
        else:
            return _error(404)
        return 200, {"data": self._described(made)}

    def _new_version(self, made: Workspace, who: str, given: dict[str, Any]) -> tuple[int, Any]:
        if made.locked_by != who:
            return _error(409, "This workspace is not locked and will only accept state uploads when locked")
        if made.versions and given["serial"] <= made.versions[-1]["attributes"]["serial"]:
            return _error(409, "the serial has to be greater")
        version = f"sv-{made.id}-{len(made.versions)}"
        url = f"https://{self.host}/states/{made.id}/{version}"
        attributes = {
            "serial": given["serial"],
            "status": "finalized",
            "hosted-state-upload-url": url,
            "hosted-json-state-upload-url": f"{url}.json",
            "hosted-state-download-url": url,
        }
        made.versions.append({"id": version, "type": "state-versions", "attributes": attributes})
        if given.get("state"):
            made.states[version] = base64.b64decode(given["state"])
        return 201, {"data": made.versions[-1]}

    def _state(self, method: str, path: str, body: bytes) -> tuple[int, bytes, str]:
        _, _, workspace_id, name = path.split("/")
        made = next(each for each in self.workspaces.values() if each.id == workspace_id)
        if method == "PUT":
            made.states[name] = body
            return 200, b"", "text/plain"
        return (200, made.states[name], "application/json") if name in made.states else (404, b"", "text/plain")

    def _described(self, made: Workspace) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "name": made.name,
            "locked": bool(made.locked_by),
            "locked-reason": made.reason,
            "execution-mode": made.mode,
            "operations": made.mode != "local",
            "terraform-version": "1.11.4",
        }
        if made.permissions is not None:
            attributes["permissions"] = dict.fromkeys(_PERMISSIONS, True) | made.permissions
        by = {"data": {"id": made.locked_by, "type": "users"}} if made.locked_by else {"data": None}
        related = {"organization": {"data": {"id": self.organization, "type": "organizations"}}, "locked-by": by}
        return {"id": made.id, "type": "workspaces", "attributes": attributes, "relationships": related}


def _error(status: int, title: str = "not found") -> tuple[int, Any]:
    return status, {"errors": [{"status": str(status), "title": title}]}


@contextlib.contextmanager
def hcp_serving(authority: Authority) -> Iterator[Hcp]:
    """Serve on a free port of this machine, with a certificate of this authority's."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            body = self._body()
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with hcp.turn:
                status, content, kind = hcp.answer(self.command, self.path, token, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if hcp.api_version:
                self.send_header("TFP-API-Version", hcp.api_version)
            self.send_header("TFP-AppName", "HCP Terraform")
            self.send_header("ETag", hashlib.md5(content).hexdigest())
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - the names are http.server's

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *facts: object) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is none of our business."""

    with Server(("127.0.0.1", 0), Handler) as server:
        hcp = Hcp(f"localhost:{server.server_port}")
        server.socket = authority.context("localhost", "127.0.0.1").wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield hcp
        finally:
            server.shutdown()
