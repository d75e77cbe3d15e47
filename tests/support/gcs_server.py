"""
Google Cloud Storage as a process of its own: gcp-storage-emulator, and what it lacks of what locks stand on.

Each rule with its source, of Google's documentation of Cloud Storage:

    conditions  `ifGenerationMatch`, `ifMetagenerationMatch`: else 412 ("Request preconditions")
    generation  each write gives another, a change of metadata another metageneration ("Object versioning")
    metadata    a PATCH merges them, null takes one away ("Objects: patch")
    rights      `storage.objects.…`, 403 where one is denied, 401 for an expired token ("IAM permissions")
    writes      one a second to one object, else 429 ("Quotas & limits")

The emulator ignores preconditions, serves one request at a time, and answers what is not there with nothing. Here
preconditions are decided and met under one lock, refusals are Google's, and metadata are merged as Google merges them.

What a token may do is in the token: `without:storage.objects.update` is denied that, `expired` everything. Prints
`LISTENING <port>`; ends when stdin does. With the word `limited` a second write to one object within a second is
answered 429, as Google may.
"""

from __future__ import annotations

import http.server
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.storage import Storage

_LOCK = threading.RLock()
_LIMIT_SECONDS = 1.0
_CONDITIONS = ("ifGenerationMatch", "ifMetagenerationMatch")


class _Handler(server.RequestHandler):
    """One request at a time; what it may not do is said before the emulator hears of it."""

    protocol_version = "HTTP/1.1"
    #: Head and body are sent apart: else each answer waits until the client has acknowledged the first, for 40 ms.
    disable_nagle_algorithm = True
    written: dict[str, float] | None = None

    def _serve_this(self) -> None:
        self._serve(self.command)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve_this  # noqa: N815 - the names are http.server's

    def _serve(self, method: str) -> None:
        body = server._read_raw_data(self) or b""
        if self.headers.get("Transfer-Encoding"):
            self.rfile.readline()  # The emulator leaves the end of the last chunk to the next request.
        del self.headers["Transfer-Encoding"]
        del self.headers["Content-Length"]
        self.headers["Content-Length"] = str(len(body))
        connection, self.rfile = self.rfile, io.BytesIO(body)
        try:
            with _LOCK:
                refused = self._refusal(method)
                if refused:
                    self._refuse(*refused)
                else:
                    server.Router(self).handle(method)
        finally:
            self.rfile = connection

    def _refusal(self, method: str) -> tuple[int, str, str] | None:
        """Say with which status, reason and words a request is refused, None if it is not."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        bucket, _, name = parts.path.partition("/b/")[2].partition("/o")
        name = query.get("name", "") if method == "POST" else unquote(name[1:])
        if not name:
            return self._denial("storage.objects.list")
        try:
            found: Mapping[str, str] = self.storage.get_file_obj(bucket, name)
        except NotFound:
            found = {}
        if denied := self._denial(*_permissions(method, is_there=bool(found))):
            return denied
        if method == "GET":
            other = "generation" in query and query["generation"] != found.get("generation")
            return (404, "notFound", f"No such object: {bucket}/{name}") if other else None
        if not found and method in ("PATCH", "DELETE"):
            return 404, "notFound", f"No such object: {bucket}/{name}"
        actual = (found.get("generation", "0"), found.get("metageneration", "0"))
        wanted = (query.get(condition) for condition in _CONDITIONS)
        if any(want not in (None, have) for want, have in zip(wanted, actual)):
            return 412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
        # A change of what is said of an object is counted apart from what is written.
        counted = f"{bucket}/{name} {method == 'PATCH'}"
        if self.written is not None:
            if time.monotonic() - self.written.get(counted, -_LIMIT_SECONDS) < _LIMIT_SECONDS:
                return 429, "rateLimitExceeded", f"The object {bucket}/{name} exceeded the rate limit."
            self.written[counted] = time.monotonic()
        return None

    def _denial(self, *permissions: str) -> tuple[int, str, str] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == "expired":
            return 401, "authError", "Invalid Credentials"
        lacking = token.removeprefix("without:").split(",") if token.startswith("without:") else []
        for permission in permissions:
            if permission in lacking:
                words = f"ci@example.iam.gserviceaccount.com does not have {permission} access to the object."
                return 403, "forbidden", words
        return None

    def _refuse(self, status: int, reason: str, words: str) -> None:
        response = server.Response(self)
        response.status = HTTPStatus(status)
        response.json(_error(status, reason, words))
        response.close()

    def log_message(self, *facts: object) -> None:
        """Say nothing."""


def _permissions(method: str, *, is_there: bool) -> tuple[str, ...]:
    if method == "POST":
        return ("storage.objects.create", *(["storage.objects.delete"] if is_there else []))
    return ({"GET": "storage.objects.get", "DELETE": "storage.objects.delete"}.get(method, "storage.objects.update"),)


def _error(status: int, reason: str, words: str) -> dict[str, Any]:
    error = {"message": words, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": words, "errors": [error]}}


def _say_what_is_missing(close: Callable[[Any], None]) -> Callable[[Any], None]:
    def closed(response: Any) -> None:
        if response.status == HTTPStatus.NOT_FOUND and not response._content:
            path = unquote(urlsplit(response._handler.path).path).partition("/b/")[2]
            bucket, _, name = path.partition("/o/")
            is_there = response._handler.storage.get_bucket(bucket.partition("/")[0]) is not None
            words = f"No such object: {bucket}/{name}" if is_there else "The specified bucket does not exist."
            response.json(_error(404, "notFound", words))
        if response._handler.command == "DELETE" and response.status == HTTPStatus.OK:
            response.status = HTTPStatus.NO_CONTENT
        close(response)

    return closed


def _first_metageneration(make: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda *words, **named: {**make(*words, **named), "metageneration": "1"}


def _merging(patch: Callable[..., Any]) -> Callable[..., Any]:
    def merged(storage: Any, bucket: str, name: str, change: dict[str, Any]) -> Any:
        if "metadata" in change:
            try:
                before = storage.get_file_obj(bucket, name).get("metadata") or {}
            except NotFound:
                return None
            after = {**before, **(change["metadata"] or {})}
            change = {**change, "metadata": {key: value for key, value in after.items() if value is not None}}
        return patch(storage, bucket, name, change)

    return merged


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    server.Response.close = _say_what_is_missing(server.Response.close)
    objects._make_object_resource = _first_metageneration(objects._make_object_resource)
    objects._patch = _merging(objects._patch)
    _Handler.written = {} if "limited" in sys.argv[1:] else None
    handler = partial(_Handler, Storage(use_memory_fs=True))
    http.server.ThreadingHTTPServer.request_queue_size = 128
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        print("LISTENING", served.server_port, flush=True)
        served.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
