"""Azure's three ways to say who asks: a signature with the account's key, a signed query, a token."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import parse_qs, quote

#: What a signature covers beside Azure's own headers, in its order.
_COVERED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


@dataclass(frozen=True)
class Unsigned:
    """A request as far as a signature covers it. `path` is quoted as it is sent; `query` is not."""

    method: str
    account: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    length: int = 0

    @property
    def question(self) -> str:
        """The query as it is sent."""
        return "&".join(f"{name}={quote(value, safe='~')}" for name, value in self.query.items())


class Way(Protocol):
    """How a request says who asks."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends, UTC; None if it does not, or nobody knows."""
        ...

    def sign(self, request: Unsigned) -> tuple[str, dict[str, str]]:
        """Return the query and the headers as they are sent."""
        ...


@dataclass(frozen=True)
class SharedKey:
    """The account's own key, in base64."""

    key: bytes = field(repr=False)
    expires_at: datetime | None = None

    def sign(self, request: Unsigned) -> tuple[str, dict[str, str]]:
        now = format_datetime(datetime.now(timezone.utc), usegmt=True)
        headers = {**request.headers, "x-ms-date": now}
        signature = hmac.new(self.key, _text_of(request, headers).encode(), hashlib.sha256).digest()
        name = base64.b64encode(signature).decode()
        return request.question, {**headers, "Authorization": f"SharedKey {request.account}:{name}"}


@dataclass(frozen=True)
class SignedQuery:
    """A shared access signature: it goes into the query as it is. Nobody can renew it before its end."""

    text: str = field(repr=False)
    expires_at: datetime | None = None

    @property
    def said_end(self) -> datetime | None:
        """The end that stands in it, UTC; None where it names a policy, which has one perhaps."""
        try:
            end = datetime.fromisoformat(parse_qs(self.text)["se"][0].replace("Z", "+00:00"))
        except (KeyError, ValueError):
            return None
        return end if end.tzinfo else end.replace(tzinfo=timezone.utc)

    def sign(self, request: Unsigned) -> tuple[str, dict[str, str]]:
        return "&".join(filter(None, (request.question, self.text))), dict(request.headers)


@dataclass(frozen=True)
class Token:
    """An Entra token for the storage."""

    text: str = field(repr=False)
    expires_at: datetime | None = None

    def sign(self, request: Unsigned) -> tuple[str, dict[str, str]]:
        return request.question, {**request.headers, "Authorization": f"Bearer {self.text}"}


def _text_of(request: Unsigned, headers: Mapping[str, str]) -> str:
    """What is signed: the names of headers in lower case, since Azure compares them so."""
    lowered = {name.lower(): value for name, value in headers.items()}
    lowered["content-length"] = str(request.length) if request.length else ""
    own = sorted((name, value.strip()) for name, value in lowered.items() if name.startswith("x-ms-"))
    lines = [request.method, *(lowered.get(name, "") for name in _COVERED), *(f"{name}:{value}" for name, value in own)]
    resource = [f"/{request.account}{request.path}"]
    resource += [f"{name.lower()}:{value}" for name, value in sorted(request.query.items())]
    return "\n".join([*lines, *resource])
