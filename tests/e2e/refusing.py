"""An HTTP proxy in front of a store that denies the requests a test names, and passes the others."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: Gets the method, the path, and DynamoDB's action (empty for S3); says whether the request is denied.
Refusal = Callable[[str, str, str], bool]

_S3 = b"<Error><Code>AccessDenied</Code><Message>a test says no</Message></Error>"
_DYNAMODB = b'{"__type": "com.amazonaws#%s", "message": "a test says no"}'


class Refusing:
    """`refuse` may be changed at any time; it is asked for every request. `reason` is DynamoDB's word for it."""

    def __init__(self, endpoint: str) -> None:
        self.refuse: Refusal = lambda method, path, action: False
        #: Gets the signature of a request, which names the region that it is for.
        self.refuse_signed: Callable[[str], bool] = lambda signature: False
        self.reason = "AccessDeniedException"
        handler = type("Handler", (_Handler,), {"owner": self, "server_at": urlsplit(endpoint).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Refusing
    server_at: str

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        action = (self.headers.get("X-Amz-Target") or "").rpartition(".")[2]
        is_refused = self.owner.refuse(self.command, urlsplit(self.path).path, action)
        if is_refused or self.owner.refuse_signed(self.headers.get("Authorization") or ""):
            self._answer(400 if action else 403, {}, _DYNAMODB % self.owner.reason.encode() if action else _S3)
            return
        connection = http.client.HTTPConnection(self.server_at, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names are http.server's

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def refusing(endpoint: str) -> Iterator[Refusing]:
    """Run such a proxy in front of `endpoint`."""
    made = Refusing(endpoint)
    try:
        yield made
    finally:
        made.close()
