"""How google-auth asks for tokens: through the proxy, and with the certificates, of all our requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from google.auth import exceptions, transport

from tfguard.backends.net import transport as net
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.trust import Trust

#: Tokens are asked for in a thread of their own, or before anything else: these may take longer than a heartbeat.
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 20.0
_MAX_BYTES = 1024 * 1024


class _Answer(transport.Response):  # type: ignore[misc]  # google-auth has no types
    def __init__(self, response: net.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.body


class Asking(transport.Request):  # type: ignore[misc]  # google-auth has no types
    """google-auth's own idea of a request, made by our transport. Each connection is for one."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._transport = net.Transport(Proxies(environ), Trust(environ), _CONNECT_SECONDS, _READ_SECONDS, kept=0)

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Answer:
        content = body.encode() if isinstance(body, str) else body or b""
        try:
            return _Answer(self._transport.send(net.Request(method, url, headers or {}, content), _MAX_BYTES))
        except NoAnswer as error:
            raise exceptions.TransportError(error) from error
