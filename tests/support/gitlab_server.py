"""
A server of Terraform states over HTTP as a process of its own: GitLab's, or one of two of nobody's in particular.

`/api/v4/projects/ID/terraform/state/NAME` follows GitLab's own rules (lib/api/terraform/state.rb and
app/services/terraform/remote_state_handler.rb of gitlabhq; its page "GitLab-managed Terraform state"):

    lock      POST …/lock, all seven fields of a LockInfo, else 400. Locked, be it by this very ID: 409, with the ID,
              user and time of the holder; Operation, Info, Version and Path are the asker's. (state.rb, `lock`)
    unlock    DELETE …/lock. `ID` given, and not the holder's: 409. None: forced. (remote_state_handler.rb, `unlock!`)
    write     POST. `ID` and the holder's have to be the same, or neither be there: else 500, for nothing rescues that
              error here. No `serial`: 400. One that exists: 422. (handle_with_lock; the unique index of versions)
    read      GET: the highest serial; 404 where there is no version.
    version   DELETE …/versions/SERIAL.
    list      POST /api/graphql, `projects(ids)` or `project(fullPath)`, `terraformStates`: name and lockedAt, here in
              pages of two. By an access token (Bearer); for a job's own no project is there. (page "GraphQL API
              resources", `TerraformState`; page "CI/CD job token": it has no access to GraphQL)
    tokens    `--auth USER:PASSWORD`: 401 for any other. `POST /end-of-job`: none counts from now on, as CI_JOB_TOKEN
              when its job has ended; `POST /new-job`: it does again.

`/strict/NAME` takes LOCK and UNLOCK and looks at IDs: 423 with the holder's whole LockInfo for a lock, an unlock and a
write with another ID. `/careless/NAME` refuses a second lock, and takes everything else from everybody.
(developer.hashicorp.com/terraform/language/backend/http says no more than that 423 or 409 means locked.)

`GET /lock-of/PATH` and `/versions-of/PATH` are for tests: the ID that holds a state, and its serials. After
`POST /fail/PATH` the next three writes of a state fail with 500: all that Terraform tries. Prints `LISTENING <port>`;
ends when stdin does.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

_GITLAB = re.compile(r"(/api/v4/projects/[^/]+/terraform/state/[^/]+)(/lock|/versions/(\d+))?")
_FIELDS = ("ID", "Operation", "Info", "Who", "Version", "Created", "Path")
_USER = "gitlab-ci-token"
#: What a person may have, of whatever project there is.
ACCESS_TOKEN = "glpat-of-ana"


@dataclass
class State:
    """One state. `versions` are its contents by their serials; so many writes as `failures` says will fail."""

    versions: dict[int, bytes] = field(default_factory=dict)
    lock: dict[str, Any] | None = None
    failures: int = 0


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, login: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login = login
        self.has_job_ended = False
        self.states: dict[str, State] = {}
        self.turn = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of our business."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body of an answer are sent apart.
    server: Server

    def _serve(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        with self.server.turn:
            status, answer = self._answer(parts.path, parse_qs(parts.query).get("ID", [None])[0], body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_LOCK = do_UNLOCK = _serve  # noqa: N815 - the names are http.server's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        return b"".join(parts)

    def _answer(self, path: str, given: str | None, body: bytes) -> tuple[int, bytes]:
        if path in ("/end-of-job", "/new-job"):
            self.server.has_job_ended = path == "/end-of-job"
            return HTTPStatus.OK, b"{}"
        for prefix, of in (("/lock-of", _lock_of), ("/versions-of", _versions_of)):
            if path.startswith(prefix + "/"):
                return HTTPStatus.OK, json.dumps(of(self._state(path.removeprefix(prefix)))).encode()
        if path.startswith("/fail/"):
            self._state(path.removeprefix("/fail")).failures = 3
            return HTTPStatus.OK, b"{}"
        if path == "/api/graphql":
            return HTTPStatus.OK, json.dumps({"data": self._listed(json.loads(body))}).encode()
        if not self._is_known():
            return HTTPStatus.UNAUTHORIZED, b'{"message":"401 Unauthorized"}'
        gitlab = _GITLAB.fullmatch(path)
        if gitlab:
            return self._gitlab(self._state(gitlab[1]), gitlab[2] or "", gitlab[3], given, body)
        if path.startswith(("/strict/", "/careless/")):
            return self._plain(self._state(path), given, body, is_strict=path.startswith("/strict/"))
        return HTTPStatus.NOT_FOUND, b'{"error":"404 Not Found"}'

    def _state(self, path: str) -> State:
        return self.server.states.setdefault(path, State())

    def _is_known(self) -> bool:
        if self.server.has_job_ended:
            return False
        wanted = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        return not self.server.login or self.headers.get("Authorization") == wanted

    def _listed(self, asked: dict[str, Any]) -> dict[str, Any]:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        is_known = (kind, token) == ("Bearer", ACCESS_TOKEN)
        project, after = asked["variables"]["project"], int(asked["variables"]["after"] or 0)
        named = project[0].rpartition("/")[2] if isinstance(project, list) else project.replace("/", "%2F")
        prefix = f"/api/v4/projects/{named}/terraform/state/"
        states = [
            (path.removeprefix(prefix), state)
            for path, state in sorted(self.server.states.items())
            if path.startswith(prefix) and (state.versions or state.lock)
        ]
        page = [
            {"name": name, "lockedAt": (state.lock or {}).get("Created")} for name, state in states[after : after + 2]
        ]
        info = {"hasNextPage": after + 2 < len(states), "endCursor": str(after + 2)}
        found = {"terraformStates": {"nodes": page, "pageInfo": info}} if is_known else None
        return {"projects": {"nodes": [found] if found else []}} if isinstance(project, list) else {"project": found}

    # --- GitLab's rules -----------------------------------------------------------------------------------------

    def _gitlab(self, state: State, what: str, serial: str | None, given: str | None, body: bytes) -> tuple[int, bytes]:
        if what == "/lock":
            return self._gitlab_lock(state, given, body)
        if serial is not None:
            return (HTTPStatus.OK if state.versions.pop(int(serial), None) else HTTPStatus.NOT_FOUND), b"{}"
        if self.command == "GET":
            return _latest(state)
        holder = state.lock["ID"] if state.lock else None
        state.failures, is_failing = max(0, state.failures - 1), state.failures > 0
        if holder != given or is_failing:
            return HTTPStatus.INTERNAL_SERVER_ERROR, b'{"message":"500 Internal Server Error"}'
        try:
            wanted = json.loads(body)["serial"]
        except (ValueError, KeyError, TypeError):
            return HTTPStatus.BAD_REQUEST, b'{"error":"serial is missing"}'
        if wanted in state.versions:
            return HTTPStatus.UNPROCESSABLE_ENTITY, b'{"message":"Version has already been taken"}'
        state.versions[wanted] = body
        return HTTPStatus.OK, b"null"

    def _gitlab_lock(self, state: State, given: str | None, body: bytes) -> tuple[int, bytes]:
        try:
            info = json.loads(body) if body else {}
        except ValueError:
            info = {}
        if self.command == "POST":
            if not all(isinstance(info.get(name), str) for name in _FIELDS):
                return HTTPStatus.BAD_REQUEST, b'{"error":"ID is missing"}'
            if state.lock:
                return HTTPStatus.CONFLICT, json.dumps({**info, **state.lock}).encode()
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            state.lock = {"ID": info["ID"], "Who": _USER, "Created": now}
            return HTTPStatus.OK, b"null"
        wanted = info.get("ID", given)
        if wanted is not None and (state.lock or {}).get("ID") != wanted:
            return HTTPStatus.CONFLICT, json.dumps({**info, **(state.lock or {})}).encode()
        state.lock = None
        return HTTPStatus.OK, b"null"

    # --- anybody's ----------------------------------------------------------------------------------------------

    def _plain(self, state: State, given: str | None, body: bytes, *, is_strict: bool) -> tuple[int, bytes]:
        if self.command == "GET":
            return _latest(state)
        if self.command == "LOCK":
            if state.lock:
                return HTTPStatus.LOCKED, json.dumps(state.lock).encode()
            state.lock = json.loads(body)
            return HTTPStatus.OK, b""
        if self.command == "UNLOCK":
            wanted = json.loads(body)["ID"] if body else None
            if is_strict and wanted is not None and (state.lock or {}).get("ID") != wanted:
                return (HTTPStatus.LOCKED if state.lock else HTTPStatus.CONFLICT), json.dumps(state.lock or {}).encode()
            state.lock = None
            return HTTPStatus.OK, b""
        if is_strict and (state.lock or {}).get("ID") != given:
            return HTTPStatus.LOCKED, json.dumps(state.lock or {}).encode()
        state.versions[max(state.versions, default=0) + 1] = body
        return HTTPStatus.OK, b""

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _latest(state: State) -> tuple[int, bytes]:
    if not state.versions:
        return HTTPStatus.NOT_FOUND, b""
    return HTTPStatus.OK, state.versions[max(state.versions)]


def _lock_of(state: State) -> str:
    return (state.lock or {}).get("ID", "")


def _versions_of(state: State) -> list[int]:
    return sorted(state.versions)


def main(*words: str) -> None:
    """Serve until stdin ends."""
    login = words[words.index("--auth") + 1] if "--auth" in words else ""
    with Server(login) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"LISTENING {server.server_address[1]}", flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
