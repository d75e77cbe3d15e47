"""
A server of a test's own that is every host at once: AWS as far as a first question goes, and the proxy.

It listens on loopback, with TLS and without, and writes down how each request came: over which proxy, with or without
TLS, for which host, by which path. (`fake_aws` writes down who asks for what.) Its certificates are signed by an
authority that is made for the test.
"""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import ssl
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.authority import Authority

#: What its certificate is for.
NAMES = ("*.example.test", "*.s3.example.test", "localhost", "127.0.0.1")
LISTING = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated></ListBucketResult>'
IDENTITY = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::123456789012:user/ci</Arn><UserId>ci</UserId><Account>123456789012</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@dataclass(frozen=True)
class Seen:
    """A request: `via` is *direct*, *proxy* or *tunnel*; `proxy_user` what the proxy was told of who asks."""

    via: str
    scheme: str
    host: str
    path: str
    proxy_user: str = ""


@dataclass
class Middle:
    """The server. `authority` is the file with its authority's certificate, `context` what it speaks TLS with."""

    port: int
    tls_port: int
    authority: Path
    context: ssl.SSLContext
    seen: list[Seen] = field(default_factory=list)


@contextlib.contextmanager
def middle(folder: Path) -> Iterator[Middle]:
    """Run the server; its certificates lie in `folder`."""
    authority = Authority(folder)
    context = authority.context(*NAMES)
    with contextlib.ExitStack() as stack:
        made = Middle(0, 0, authority.file, context)
        plain = stack.enter_context(_serving(made, context, is_tls=False))
        encrypted = stack.enter_context(_serving(made, context, is_tls=True))
        made.port, made.tls_port = plain, encrypted
        yield made


@contextlib.contextmanager
def _serving(made: Middle, context: ssl.SSLContext, *, is_tls: bool) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        tunnel_user: str | None = None

        def setup(self) -> None:
            if is_tls:
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            # The server closes the socket that it accepted, and knows nothing of what was put around it.
            with contextlib.suppress(OSError):
                super().finish()
            self.connection.close()

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.tunnel_user = self.headers.get("Proxy-Authorization", "")
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined]

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._note()
            is_dynamodb = "X-Amz-Target" in self.headers
            content = b"{}" if is_dynamodb else IDENTITY if self.command == "POST" else LISTING
            self.send_response(200 if body is not None else 500)
            self.send_header("Content-Type", "application/x-amz-json-1.0" if is_dynamodb else "application/xml")
            self.send_header("x-amz-crc32", str(zlib.crc32(content)))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the names are http.server's

        def _note(self) -> None:
            parts = urlsplit(self.path)
            user = self.headers.get("Proxy-Authorization", "")
            if self.tunnel_user is not None:
                via, scheme, user = "tunnel", "https", self.tunnel_user
            elif parts.scheme:
                via, scheme = "proxy", parts.scheme
            else:
                via, scheme = "direct", "https" if is_tls else "http"
            made.seen.append(Seen(via, scheme, self.headers["Host"], parts.path, user))

        def log_message(self, *facts: object) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *facts: object) -> None:
            """A client that does not trust us goes away; that is no error of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
