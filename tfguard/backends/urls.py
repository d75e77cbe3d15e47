"""
Stores as URLs, for locks under a name of the user's own (`lock.store` with `lock.name`).

Each backend says which URLs it knows; a URL without a scheme is a path, counted from the working directory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from tfguard.backends import BACKENDS, Backend, load
from tfguard.backends.target import StoreSpec
from tfguard.errors import ConfigError
from tfguard.text import printable, valid

#: Schemes that are not Terraform's word for their backend.
_SCHEMES = {"dynamodb": "s3", "file": "local", "gs": "gcs", "azblob": "azurerm", "k8s": "kubernetes", "postgres": "pg"}
_A_NAME = "A name is like prod/network: it has no .. in it, and no / in front."


class WrongStore(ConfigError):
    """A URL that is none of a store, or a name that is none for a lock: whatever the environment, it never will be."""


class StoreUrl(msgspec.Struct, frozen=True):
    """A URL, taken apart. `scheme` is `file` where the URL has none."""

    scheme: str
    parts: SplitResult

    def options(self, *allowed: str) -> dict[str, str]:
        """Return what follows the question mark. Raises ConfigError for what is not allowed, or stands there twice."""
        pairs = parse_qsl(self.parts.query, keep_blank_values=True)
        options = dict(pairs)
        for key in options:
            if key not in allowed:
                known = f"It takes {', '.join(allowed)}." if allowed else "It takes none."
                raise self.wrong(f"has the unknown option {printable(key, 40)!r}. {known}")
        if len(pairs) != len(options):
            raise self.wrong("has an option twice.")
        return options

    def wrong(self, why: str) -> WrongStore:
        """Return the error that says, of the URL without what might be a secret in it, `why` it cannot be used."""
        return _wrong(f"{_shown(self.parts)}{'' if why.startswith(':') else ' '}{why}", _expected(self.scheme))


def parse_store_url(url: str, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Say where the lock `name` lives in the store `url`.

    Relative paths count from the working directory; a region that the URL leaves out comes from `environ`.

    Raises:
        WrongStore: The URL or the name cannot be used; the message says what was expected.
        ConfigError: The environment lacks something for it.
    """
    if not is_lock_name(name):
        raise _wrong(f"{printable(name, 60)!r} is no name for a lock.", _A_NAME)
    parsed = _parse(url)
    backend = _backend_for(parsed.scheme)
    parts = parsed.parts
    if backend is None or parts.fragment or not (parts.netloc or parts.path):
        raise parsed.wrong("is no store.")
    if "@" in parts.netloc:
        raise parsed.wrong("names a login before the @. Leave that out; credentials are the environment's.")
    if parsed.scheme != "file" and valid(url) != url:  # A path may be of any bytes; a service's names are text.
        raise _wrong(f"{printable(url, 60)!r} is no UTF-8.", "Name the store in UTF-8.")
    return backend.from_url(parsed, name, environ)


def is_lock_name(name: str) -> bool:
    """Whether a lock in a store of the user's own can be called so: it may become a part of a path, or of a key."""
    return bool(name.strip()) and name.isprintable() and not name.startswith("/") and ".." not in name.split("/")


def fetch_command(place: str) -> str:
    """Return the command that copies the file at `place` (a path, or a URL) to this machine."""
    with contextlib.suppress(ConfigError):
        if _parse(place).scheme in ("http", "https"):
            return load("http").fetch  # It is no store, but copies may lie there.
        if (backend := _backend_for(_parse(place).scheme)) is not None:
            return backend.fetch
    return "cp"


def _parse(url: str) -> StoreUrl:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(f"{printable(url, 60)!r} is no store: {error}.", _expected("")) from error
    return StoreUrl(parts.scheme or "file", parts)


def _backend_for(scheme: str) -> Backend | None:
    kind = _SCHEMES.get(scheme, scheme)
    backend = load(kind) if kind in BACKENDS else None
    return backend if backend and scheme in backend.urls else None


def _expected(scheme: str) -> str:
    """Say what a URL of this scheme looks like; of one that nobody knows, which there are."""
    forms: dict[str, str] = {}
    for kind in BACKENDS:
        with contextlib.suppress(ConfigError):  # Whose extra is not installed is not expected either.
            forms |= load(kind).urls
    return f"Expected {forms[scheme]}." if scheme in forms else f"Expected {'://, '.join(forms)}://, or a path."


def _shown(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    start = f"{parts.scheme}://{host}" if parts.scheme else ""
    return printable(f"{start}{parts.path}", 60)


def _wrong(what: str, advice: str) -> WrongStore:
    return WrongStore(f"{printable(what, 120)}\n{printable(advice, 120)}")
