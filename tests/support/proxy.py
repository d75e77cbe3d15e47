"""A TCP proxy in front of a store that can hang or refuse, and heal again, while a test looks on."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from tests.support.eventually import eventually, patience

Mode = Literal["pass", "hang", "refuse"]
_CHUNK = 65536
_TICK_SECONDS = 0.02


class Proxy:
    """
    Passes bytes both ways between clients and one server, in a thread of its own.

    *hang*: connections are accepted and stay open, but nothing passes. *refuse*: open connections are reset, new ones
    closed at once. Healing (back to *pass*) resets what hung: none of it ever reaches the server.

    One connection alone may be cut, without a word to its ends: a cable is pulled, a gateway forgets it.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._server = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket | None] = {}
        self._mode: Mode = "pass"
        self._wanted: Mode = "pass"
        self._cut: tuple[int, bool] | None = None
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def turn(self, mode: Mode) -> None:
        """Change the mode; it holds for every byte after this call."""
        self._wanted = mode
        eventually(lambda: self._mode == mode, 30, mode)

    def cut(self, port: int, *, is_ended: bool = False) -> None:
        """
        Pass nothing more on the connection that comes from this port, not that it ends either.

        `is_ended`: the client's end gives it up; the server does not hear of that.
        """
        self._cut = port, is_ended
        eventually(lambda: self._cut is None, 30, "a connection that is cut")

    def close(self) -> None:
        self._is_open = False
        self._thread.join(patience(10))

    def _run(self) -> None:
        while self._is_open:
            self._change()
            # While it hangs nobody reads: clients see an open connection on which nothing comes.
            for key, _ in self._selector.select(_TICK_SECONDS):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered
        self._drop_all()
        self._selector.close()
        self._listener.close()

    def _change(self) -> None:
        if self._wanted != self._mode:
            if self._wanted == "hang":
                for each in self._peers:
                    self._selector.unregister(each)
            else:
                self._drop_all()
            self._mode = self._wanted
        if self._cut is not None:
            port, is_ended = self._cut
            client = next(each for each in self._peers if each.getpeername() == ("127.0.0.1", port))
            for each in (client, self._peers[client]):
                self._selector.unregister(each)  # type: ignore[arg-type]  # it passes, and so has a peer
            if is_ended:
                self._peers[self._peers.pop(client)] = None  # type: ignore[index]  # as above
                client.close()
            self._cut = None

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._mode == "refuse":
            client.close()
            return
        if self._mode == "hang":
            self._peers[client] = None
            return
        try:
            server = socket.create_connection(self._server, timeout=patience(10))
        except OSError:
            client.close()
            return
        self._peers |= {client: server, server: client}
        for each in (client, server):
            each.settimeout(patience(10))
            self._selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        peer = self._peers.get(source)
        if peer is None:
            return
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(_CHUNK)
            peer.sendall(data)
        if not data:
            self._drop(source)
            self._drop(peer)

    def _drop(self, end: socket.socket) -> None:
        self._peers.pop(end, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(end)
        end.close()

    def _drop_all(self) -> None:
        for end in list(self._peers):
            self._drop(end)


@contextlib.contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    """Run a proxy in front of `endpoint`."""
    made = Proxy(endpoint)
    try:
        yield made
    finally:
        made.close()
