"""
One HTTP request and its answer: through the proxy and with the certificates that Terraform would use, made once.

Connections are kept for the next request. Nothing is followed (a redirect is an answer like any other), nothing is
sent again, and no answer is larger than its reader wants.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import urlsplit

import msgspec

from tfguard.backends.net import times
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies, Proxy
from tfguard.backends.net.trust import Trust
from tfguard.errors import StoreMisconfigured
from tfguard.text import as_bytes

_PORTS = {"http": 80, "https": 443}
_MAX_REFUSAL = 64 * 1024
#: How soon somebody who waits for an answer hears that the wait is over.
_LOOK_MILLISECONDS = 50


def host_of(url: str) -> str:
    """Return the host as a request names it: a port that goes without saying is left out."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].removesuffix(f":{_PORTS.get(parts.scheme, 0)}")


class Request(msgspec.Struct, frozen=True):
    """A request as it is sent; `headers` may hold a signature. Names in `repeated` may come more than once."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    repeated: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.method} …)"


class Response(msgspec.Struct, frozen=True):
    """An answer. The names of `headers` are in lower case; `is_whole` says that `body` is not only its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def date(self) -> datetime | None:
        """What the server's clock said; None if it did not, or if that is no date."""
        return parsed_date(self.headers.get("date", ""))


def parsed_date(text: str) -> datetime | None:
    """Read the `Date` of an answer, in UTC; None where it is none."""
    try:
        return parsedate_to_datetime(text).astimezone(timezone.utc)
    except (TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Wait:
    """For how long an answer may be awaited beyond the usual; `is_over` is asked often, and ends it."""

    seconds: float
    is_over: Callable[[], bool]


class Transport:
    """
    Makes requests, for several threads if need be. `patience` is how long each step may take: a heartbeat's, if none is
    given.

    So many connections as `kept` says are kept for the next request; with none, nobody has to `close`. `server_name`:
    whose certificate is expected, where that is not the host's.
    """

    def __init__(
        self,
        proxies: Proxies,
        trust: Trust,
        patience: times.Times | None = None,
        kept: int = 2,
        server_name: str = "",
    ) -> None:
        self._proxies = proxies
        self._trust = trust
        self._times = patience or times.BEAT
        self._most = kept
        self._server_name = server_name
        self._idle: dict[str, deque[_Connection]] = {}
        self._has_answered = False

    def send(self, request: Request, max_bytes: int, wait: Wait | None = None) -> Response:
        """
        Make a request, once, and read its answer up to `max_bytes`; a refusal always up to 64 KiB.

        With `wait` the server is given so much longer to begin with its answer.

        Raises:
            NoAnswer: Whatever went wrong; its text names addresses, no secret.

            StoreMisconfigured: A certificate bundle that cannot be read, a proxy of a kind that we do not speak; or the
                server's certificate is not trusted, and never was: later that is an outage as any other.
        """
        parts = urlsplit(request.url)
        connection, target = self._connection(request.url)
        try:
            response, is_reusable = self._exchange(connection, request, target, max_bytes, wait)
        except (OSError, http.client.HTTPException, ValueError, EOFError) as error:
            connection.close()
            raise NoAnswer(_reason(error)) from error
        except BaseException:
            connection.close()
            raise
        if is_reusable:
            self._keep(f"{parts.scheme}://{parts.netloc}", connection)
        else:
            connection.close()
        self._has_answered = True
        return response

    def follow(self, request: Request, max_bytes: int, wait: Wait, is_last: Callable[[bytes], bool]) -> Response | None:
        """
        Make a request whose answer is a line now and then, until one `is_last`, the answer ends, or the wait does.

        Gives an answer that is no success, None otherwise. A line has `max_bytes` at most. Raises as `send` does.
        """
        connection, target = self._connection(request.url)
        try:
            sock = connection.sock
            with contextlib.closing(self._ask(connection, request, target)) as answer:  # as in `_exchange`
                if answer.status != 200:
                    headers = {name.lower(): value for name, value in answer.getheaders()}
                    return Response(answer.status, headers, answer.read(_MAX_REFUSAL), is_whole=True)
                _follow_lines(answer, sock, max_bytes, wait, is_last)
                return None
        except (OSError, http.client.HTTPException, ValueError, EOFError) as error:
            raise NoAnswer(_reason(error)) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Let go of the connections that are kept, and from now on keep none: a request may still be under way."""
        self._most = 0
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _exchange(
        self,
        connection: _Connection,
        request: Request,
        target: str,
        max_bytes: int,
        wait: Wait | None,
    ) -> tuple[Response, bool]:
        # An answer that ends with its connection has taken that over: to close the connection closes nothing.
        with contextlib.closing(self._ask(connection, request, target, wait)) as answer:
            if answer.status >= 300:
                max_bytes = _MAX_REFUSAL
            # A byte more shows whether there is more.
            body = answer.read(max_bytes + 1)
            is_whole = len(body) <= max_bytes
            if is_whole and answer.length:
                raise http.client.IncompleteRead(body, answer.length)
            headers = {name.lower(): value for name, value in answer.getheaders()}
            is_reusable = is_whole and not answer.will_close and answer.isclosed()
            return Response(answer.status, headers, body[:max_bytes], is_whole), is_reusable

    @staticmethod
    def _ask(
        connection: _Connection, request: Request, target: str, wait: Wait | None = None
    ) -> http.client.HTTPResponse:
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        if not any(name.lower() == "host" for name in request.headers):
            connection.putheader("Host", host_of(request.url))
        for name, value in (*request.headers.items(), *request.repeated):
            connection.putheader(name, as_bytes(value))
        if request.body or request.method in ("PUT", "POST"):
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        if wait is not None:
            _await_answer(connection.sock, wait)
        return connection.getresponse()

    def _connection(self, url: str) -> tuple[_Connection, str]:
        """A connection that the request can be written to, and what stands in its first line. Raises as `send` does."""
        try:
            return self._opened(url)
        except ssl.SSLCertVerificationError as error:
            if not self._has_answered:
                raise self._trust.distrust(error, _origin(url)) from error
            raise NoAnswer(f"cannot connect: {_reason(error)}, {_origin(url)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(f"cannot connect: {_reason(error)}, {_origin(url)}") from error

    def _opened(self, url: str) -> tuple[_Connection, str]:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._proxies.proxy_for(url)
        is_plain = parts.scheme == "http"
        target = f"http://{parts.netloc}{path}" if proxy and is_plain else path
        self._trust.renew()
        if (kept := self._kept(f"{parts.scheme}://{parts.netloc}")) is not None:
            return kept, target
        if proxy is not None and proxy.scheme not in _PORTS:
            raise StoreMisconfigured(
                f"The proxy is one for {proxy.scheme}, which tfguard does not speak.\n"
                "Use an http or https proxy, or exempt the address in NO_PROXY."
            )
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        try:
            return self._connect(host, port, proxy, is_plain=is_plain), target
        except ssl.SSLCertVerificationError:
            if not self._trust.widen():
                raise
        return self._connect(host, port, proxy, is_plain=is_plain), target

    def _connect(self, host: str, port: int, proxy: Proxy | None, *, is_plain: bool) -> _Connection:
        there = (proxy.host, proxy.port) if proxy else (host, port)
        generation = self._trust.generation
        made = socket.create_connection(there, self._times.connect)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if proxy is not None and proxy.scheme == "https":
                made = self._trust.context().wrap_socket(made, server_hostname=proxy.host)
            if proxy is not None and not is_plain:
                _open_tunnel(made, host, port, proxy)
            if not is_plain:
                made = self._encrypted(made, host)
            made.settimeout(self._times.read)
        except BaseException:
            made.close()
            raise
        connection = _Connection(host, port)
        connection.sock, connection.generation = made, generation
        if proxy is not None and is_plain:
            connection.proxy_authorization = proxy.authorization
        return connection

    def _encrypted(self, plain: socket.socket, host: str) -> socket.socket:
        context = self._trust.context()
        if not isinstance(plain, ssl.SSLSocket):
            return context.wrap_socket(plain, server_hostname=self._server_name or host)
        from urllib3.util.ssltransport import SSLTransport  # TLS within the TLS of an https proxy, which `ssl` has not

        return cast("socket.socket", SSLTransport(plain, context, server_hostname=self._server_name or host))

    def _kept(self, origin: str) -> _Connection | None:
        connections = self._idle.get(origin, deque())
        with contextlib.suppress(IndexError):
            while True:
                connection = connections.pop()
                if connection.generation == self._trust.generation and not _has_ended(connection):
                    return connection
                connection.close()
        return None

    def _keep(self, origin: str, connection: _Connection) -> None:
        connections = self._idle.setdefault(origin, deque())
        if len(connections) < self._most:
            connections.append(connection)
        else:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection whose socket was made by us. It never makes another one, which would go past proxy and TLS."""

    auto_open = 0
    proxy_authorization = ""
    #: Which of our certificates it was made with: `Trust.generation`.
    generation = 0

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, url, skip_host, skip_accept_encoding)
        if self.proxy_authorization:
            self.putheader("Proxy-Authorization", self.proxy_authorization)


def _open_tunnel(proxied: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    proxied.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    # Byte by byte: what comes after the head belongs to whoever is behind the proxy.
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = proxied.recv(1)
        if not byte or len(head) > 16384:
            raise OSError("the proxy ended the connection")
        head += byte
    status = head.split(None, 2)[1:2]
    if status != [b"200"]:
        code = status[0].decode("ascii", "replace") if status else "nonsense"
        raise OSError(f"the proxy answered {code[:3]}")


def _await_answer(sock: socket.socket, wait: Wait) -> None:
    """Return when the answer begins or the time is over: then reading gives it as long as any other answer."""
    until = time.monotonic() + wait.seconds
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while not poll.poll(_LOOK_MILLISECONDS):
        if wait.is_over():
            raise TimeoutError
        if time.monotonic() >= until:
            return


def _follow_lines(
    answer: http.client.HTTPResponse, sock: socket.socket, max_bytes: int, wait: Wait, is_last: Callable[[bytes], bool]
) -> None:
    until = time.monotonic() + wait.seconds
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    line = b""
    while time.monotonic() < until and not wait.is_over():
        if not _has_bytes(answer, sock) and not (poll.poll(_LOOK_MILLISECONDS) and _has_bytes(answer, sock)):
            continue
        read = answer.read1(max_bytes)
        *lines, line = (line + read).split(b"\n")
        if not read or len(line) > max_bytes or any(is_last(each) for each in lines):
            return


def _has_bytes(answer: http.client.HTTPResponse, sock: socket.socket) -> bool:
    """Whether something can be read at once, be it the end."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        # The end of a chunk that has been read stays where it is until the next one comes.
        read = answer.fp.peek(1)
        is_more = bool(read) if getattr(answer, "chunk_left", None) else bool(read.lstrip(b"\r\n"))
        return is_more or bool(select.select([sock], [], [], 0)[0]) or bool(getattr(sock, "pending", int)())
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        sock.settimeout(timeout)


def _has_ended(connection: _Connection) -> bool:
    """Whether the other end has closed a connection that is kept, or said something that nobody asked for."""
    sock = connection.sock
    if sock is None:
        return True
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, (OSError, http.client.HTTPException)):
        said = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
        return said or str(error) or type(error).__name__
    return type(error).__name__  # Its text might repeat a header.
