"""How google-auth asks for tokens: through the proxy, and with the certificates, of all our requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from google.auth import exceptions, transport

from tfguard import redaction
from tfguard.backends.net import transport as net
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import SIGN_IN
from tfguard.backends.net.trust import Trust
from tfguard.text import printable
from tfguard.wire import parse

_MAX_BYTES = 1024 * 1024
#: What a service account signs instead of a secret is one as well.
_ASSERTION = "assertion"


class NoToken(exceptions.RefreshError):  # type: ignore[misc]  # google-auth has no types
    """Who was asked for a token beside Google, a program say, has given none."""


class _Error(msgspec.Struct, frozen=True):
    message: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    """What Google's APIs say, and what token servers say."""

    error: str | _Error
    error_description: str = ""

    @property
    def words(self) -> str:
        return self.error_description or (self.error if isinstance(self.error, str) else self.error.message)


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
    """
    google-auth's own idea of a request, made by our transport. Each connection is for one.

    It remembers what it sent, so that nobody who repeats it gets it into a message; and what was answered last.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._transport = net.Transport(Proxies(environ), Trust(environ), SIGN_IN, kept=0)
        self._secrets: set[str] = set()
        #: The status of the last request's answer, None while it has none.
        self.status: int | None = None
        self._body = b""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Answer:
        self.status = None
        if not str(url).startswith(("https://", "http://")):
            raise ValueError(f"{printable(str(url), 40)} is no address to ask for a token")  # A file has it.
        content = body.encode() if isinstance(body, str) else body or b""
        self._secrets |= _secrets_in(headers or {}, content)
        try:
            response = self._transport.send(net.Request(method, url, headers or {}, content), _MAX_BYTES)
        except NoAnswer as error:
            raise exceptions.TransportError(error) from error
        self.status, self._body = response.status, response.body
        return _Answer(response)

    @property
    def is_told_to_wait(self) -> bool:
        """Whether the last answer leaves open what a later one will be."""
        return self.status is not None and (self.status >= 500 or self.status in (408, 429))

    @property
    def is_refused(self) -> bool:
        """Whether the last answer says no."""
        return self.status is not None and self.status >= 400

    def said(self) -> str:
        """Return why the last request was refused, in Google's words; empty if it was not, or by somebody else."""
        try:
            return parse(self._body, _Refusal).words if self.is_refused else ""
        except msgspec.DecodeError:
            return ""

    def without_secrets(self, text: str) -> str:
        """Return the text without what has been sent to prove who we are."""
        return redaction.without(text, self._secrets)


def _secrets_in(headers: Mapping[str, str], content: bytes) -> set[str]:
    sent = [*headers.items(), *parse_qsl(content.decode("utf-8", "replace"))]
    values = (value for name, value in sent if redaction.is_secret_name(name) or name == _ASSERTION)
    return {secret for value in values for secret in (value, value.rpartition(" ")[2])}  # `Bearer SECRET`
