"""
What the API server knows us by: a token that is given, one in a file, one that a program prints, or a password.

A file is read for each request, as its token may be another soon. A program is run once, and again in the background
before what it printed ends.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from tfguard import programs
from tfguard.backends.fresh import Fresh
from tfguard.backends.kubernetes.kubeconfig import Exec
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse, publish

_PROGRAM_SECONDS = 60.0
_MAX_BYTES = 1 << 20
_EARLY_SECONDS = 300.0
#: The forms in which a program may print what it has found.
_VERSIONS = frozenset({"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"})


class PrintedToken(msgspec.Struct, frozen=True):
    """A token, and when it ends, UTC; None if it does not, or nobody knows."""

    token: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return "PrintedToken(…)"


class Credentials:
    """Gives the value of the header that says who we are, empty where nothing does; `printed` comes from a program."""

    def __init__(self, header: Callable[[], str], printed: Fresh[PrintedToken] | None = None) -> None:
        self.header = header
        self._printed = printed
        if printed is not None:
            printed.resolve()

    def expires_at(self) -> datetime | None:
        """When what is at hand ends, UTC; None if it does not, or nobody knows."""
        return self._printed.expires_at() if self._printed else None

    def renew_soon(self) -> None:
        """The server does not know it any more."""
        if self._printed is not None:
            self._printed.renew_soon()

    def close(self) -> None:
        """Stop keeping it fresh."""
        if self._printed is not None:
            self._printed.close()


def fixed(token: str) -> Credentials:
    """Return a token that is given; an empty one is none."""
    return Credentials(lambda: _bearer(token) if token else "")


def from_file(path: str) -> Credentials:
    """Return the token in a file, whatever it is at the time. Asking for it raises StoreMisconfigured."""

    def read() -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return _bearer(file.read(_MAX_BYTES).strip())
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StoreMisconfigured(
                f"The token file {printable(path, 80)} cannot be read: {why}.", "Correct `tokenFile` in the kubeconfig."
            ) from error

    return Credentials(read)


def password(user: str, secret: str) -> Credentials:
    """Return a user and a password."""
    login = base64.b64encode(f"{user}:{secret}".encode("utf-8", "surrogateescape")).decode()
    return Credentials(lambda: f"Basic {login}")


def from_program(program: Exec, folder: str, environ: Mapping[str, str]) -> Credentials:
    """Return the token that a program prints, run now. A path of several parts counts from `folder`."""
    fresh = Fresh(lambda: _printed(program, folder, environ), _EARLY_SECONDS)

    def header() -> str:
        found = fresh.get()
        return _bearer(found.token) if found else ""

    return Credentials(header, fresh)


class _Status(msgspec.Struct, frozen=True):
    token: str = ""
    expires_at: datetime | None = msgspec.field(default=None, name="expirationTimestamp")


class _ExecCredential(msgspec.Struct, frozen=True):
    kind: str
    version: str = msgspec.field(name="apiVersion")
    status: _Status


def _printed(program: Exec, folder: str, environ: Mapping[str, str]) -> PrintedToken:
    """Run a program; what it prints is never shown."""
    name = printable(os.path.basename(program.command), 40)
    version = program.api_version or ""
    if version not in _VERSIONS:
        raise StoreMisconfigured(
            f"The kubeconfig's program {name} speaks {printable(version or 'no version', 60)}, which tfguard does not.",
            "Set its apiVersion to client.authentication.k8s.io/v1, if it knows that.",
        )
    asked: dict[str, Any] = {"kind": "ExecCredential", "apiVersion": version, "spec": {"interactive": False}}
    try:
        more = {each["name"]: each["value"] for each in program.env or ()}
        has_folder = os.sep in program.command
        path = os.path.join(folder, program.command) if has_folder else programs.find(program.command, environ)
        given = {**environ, **more, "KUBERNETES_EXEC_INFO": publish(asked).decode()}
        said = programs.ask([path, *(program.args or ())], given, _PROGRAM_SECONDS)
    except TimeoutError as error:
        raise StoreUnavailable(
            f"The kubeconfig's program {name} took more than {_PROGRAM_SECONDS:.0f} s.",
            "Run it by hand: it may wait for somebody.",
        ) from error
    except OSError as error:
        raise _useless(name, f"cannot be run ({error.strerror})") from error
    except KeyError as error:
        raise _useless(name, "cannot be run (an entry of its `env` has no name or no value)") from error
    if said.status:
        raise _useless(name, said.ending(), said.last_words())
    return _read(said.output, name, version)


def _read(output: bytes, name: str, version: str) -> PrintedToken:
    try:
        said = parse(output, _ExecCredential)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _useless(name, "printed no ExecCredential") from None
    if (said.kind, said.version) != ("ExecCredential", version) or not said.status.token:
        raise _useless(name, "printed no token, or in another version than it was asked for")
    ends = said.status.expires_at
    if ends is not None:
        ends = ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)
        if ends <= datetime.now(timezone.utc):
            raise _useless(name, "printed a token that has expired")
    return PrintedToken(said.status.token, ends)


def _useless(name: str, why: str, said: str = "") -> StoreDenied:
    return StoreDenied(
        f"The kubeconfig's program {name} {why}{f': {said}' if said else '.'}",
        "Run it by hand, with the same environment; it must print an ExecCredential with a token.",
        action="authenticate",
        resource="Kubernetes",
    )


def _bearer(token: str) -> str:
    if not token.isprintable() or not token.isascii():
        raise StoreMisconfigured("The token for Kubernetes is not one line of plain letters.", "Correct it.")
    return f"Bearer {token}"
