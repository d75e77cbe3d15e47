"""
A bucket of Google's kind on this machine, in memory: where the demo's state and its lock live.

A lock in a file would not show the point. It is the kernel's, and comes free as its process dies, while what a killed
CI runner leaves behind is a lock in a bucket or a table. So this answers what Terraform and tfguard ask of Google
Cloud Storage, and decides each condition and meets it under one lock, as Google does. It knows no users, listens on
this machine only, and forgets everything at its end.
"""

from __future__ import annotations

import base64
import contextlib
import email.message
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NAME = "demo"
_MAX_BYTES = 16 << 20


@dataclass
class _Stored:
    """An object as it was written last. `metageneration` counts the changes of what is said of it."""

    body: bytes
    generation: int
    metageneration: int = 1
    metadata: dict[str, str] = field(default_factory=dict)

    def described(self, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "bucket": NAME,
            "name": name,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "size": str(len(self.body)),
            "md5Hash": base64.b64encode(hashlib.md5(self.body, usedforsecurity=False).digest()).decode(),
            "metadata": self.metadata,
        }


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, _Stored]
    turn: threading.Lock
    counted: list[int]

    def answer(self) -> None:
        body = self._body()
        try:
            with self.turn:
                status, content = self._serve(body)
        except _Refused as refused:
            status, content = refused.status, json.dumps(_error(refused)).encode()
        except (KeyError, ValueError, AttributeError):
            status, content = 400, json.dumps(_error(_Refused(400, "invalid"))).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if status != 204 else b"")

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the names are http.server's

    def log_message(self, *facts: object) -> None:
        """Say nothing: the demo's own words are what is to be read."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _MAX_BYTES))
        parts = []
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            parts.append(self.rfile.read(min(size, _MAX_BYTES)))
            self.rfile.readline(100)
        self.rfile.readline(100)
        return b"".join(parts)

    def _serve(self, body: bytes) -> tuple[int, bytes]:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name, is_body = _named(url.path)
        if self.command == "POST":
            return 200, json.dumps(self._write(query, body)).encode()
        if not name:
            names = sorted(each for each in self.objects if each.startswith(query.get("prefix", "")))
            items = [self.objects[each].described(each) for each in names]
            return 200, json.dumps({"kind": "storage#objects", "items": items}).encode()
        found = self.objects.get(name)
        if found is None or query.get("generation") not in (None, str(found.generation)):
            raise _Refused(404, "notFound")
        if self.command == "GET":
            is_body = is_body or query.get("alt") == "media"
            return 200, found.body if is_body else json.dumps(found.described(name)).encode()
        self._check(found, query)
        if self.command == "DELETE":
            del self.objects[name]
            return 204, b""
        said = {**found.metadata, **json.loads(body)["metadata"]}
        found.metadata = {key: value for key, value in said.items() if value is not None}
        found.metageneration += 1
        return 200, json.dumps(found.described(name)).encode()

    def _write(self, query: dict[str, str], body: bytes) -> dict[str, Any]:
        about, content = _parts(self.headers["Content-Type"], body)
        name = query.get("name") or about["name"]
        self._check(self.objects.get(name), query)
        self.counted[0] += 1
        self.objects[name] = _Stored(content, self.counted[0], metadata=about.get("metadata") or {})
        return self.objects[name].described(name)

    def _check(self, found: _Stored | None, query: dict[str, str]) -> None:
        have = (found.generation, found.metageneration) if found else (0, 0)
        for condition, number in zip(("ifGenerationMatch", "ifMetagenerationMatch"), have):
            if query.get(condition, str(number)) != str(number):
                raise _Refused(412, "conditionNotMet")


def _named(path: str) -> tuple[str, bool]:
    """Return which object a path names, and whether its body alone is meant: Google's Go library reads at /demo/…."""
    name = unquote(path.removeprefix(f"/{NAME}/"))
    if name != unquote(path):
        return name, True
    return unquote(path.partition("/b/")[2].partition("/o")[2].removeprefix("/")), False


def _parts(kind: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Take an upload apart: what is said of the object, and the object."""
    message = email.message.Message()
    message["Content-Type"] = kind
    mark = b"--" + str(message.get_boundary()).encode()
    about, content = (part.partition(b"\r\n\r\n")[2][:-2] for part in body.split(mark)[1:3])
    return json.loads(about), content


def _error(refused: _Refused) -> dict[str, Any]:
    error = {"message": refused.reason, "domain": "global", "reason": refused.reason}
    return {"error": {"code": refused.status, "message": refused.reason, "errors": [error]}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a run that is killed leaves its connections as they are, and that is what is shown here."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve an empty bucket for as long as the block lasts; gives what `storage_custom_endpoint` is."""
    state = {"objects": {}, "turn": threading.Lock(), "counted": [1_000_000]}
    handler = type("Handler", (_Handler,), state)
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/storage/v1/"
        finally:
            server.shutdown()
