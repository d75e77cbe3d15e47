"""A web server of a test's own: a function that answers requests, on a free port of this machine."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Message
    body: bytes


class NoReply(Exception):
    """Raised by who answers: the connection ends without an answer."""


#: Gives the status and the body.
Answer = Callable[[Request], tuple[int, bytes]]
#: Gives the status, the headers and the body.
Reply = Callable[[Request], tuple[int, Mapping[str, str], bytes]]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Let `answer` serve; gives the address, without a slash at its end."""

    def reply(request: Request) -> tuple[int, Mapping[str, str], bytes]:
        status, content = answer(request)
        return status, {}, content

    with replying(reply) as address:
        yield address


@contextlib.contextmanager
def replying(answer: Reply, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """The same with headers; with a `context` over TLS, though the address that is given does not say so."""

    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, headers, content = answer(Request(self.command, self.path, self.headers, body))
            except NoReply:
                self.close_connection = True
                return
            self.send_response_only(status)
            self.send_header("Date", headers.get("Date") or self.date_time_string())
            for name, value in headers.items():
                if name != "Date":
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - the names are http.server's

        def log_message(self, *facts: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away, or is not let in, is none of our business."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
