"""
What the API server knows us by: a token that is given, one in a file, a password, or what a program prints, which is a
token, a certificate with its key, or both.

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
from tfguard.backends.net.trust import is_pair
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse, publish

_PROGRAM_SECONDS = 60.0
_MAX_BYTES = 1 << 20
_EARLY_SECONDS = 300.0
#: The forms in which a program may print what it has found.
_VERSIONS = frozenset({"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"})


class Printed(msgspec.Struct, frozen=True):
    """A token, a certificate with its key (PEM), or both; and when they end, UTC, None where nobody knows."""

    token: str
    certificate: tuple[str, str] | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return "Printed(…)"


class Credentials:
    """Gives the value of the header that says who we are, empty where nothing does; `printed` comes from a program."""

    def __init__(self, header: Callable[[], str], printed: Fresh[Printed] | None = None) -> None:
        self.header = header
        self._printed = printed

    def resolve(self) -> None:
        """Run the program, if there is one. Raises StoreDenied, StoreMisconfigured, StoreUnavailable."""
        if self._printed is not None:
            self._printed.resolve()

    def expires_at(self) -> datetime | None:
        """When what is at hand ends, UTC; None if it does not, or nobody knows."""
        return self._printed.expires_at() if self._printed else None

    def certificate(self) -> tuple[str, str] | None:
        """Return the certificate and key to show, PEM, as they are now; None where no program has printed any."""
        found = self._printed.get() if self._printed else None
        return found.certificate if found else None

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


def from_file(path: str, otherwise: str = "") -> Credentials:
    """
    Return the token in a file, whatever it is at the time; `otherwise` is one for when that cannot be read.

    Asking for it raises StoreMisconfigured.
    """

    def read() -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return _bearer(file.read(_MAX_BYTES).strip())
        except (OSError, UnicodeError) as error:
            if otherwise:
                return _bearer(otherwise)
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StoreMisconfigured(
                f"The token file {printable(path, 80)} cannot be read: {why}.", "Correct `tokenFile` in the kubeconfig."
            ) from error

    return Credentials(read)


def password(user: str, secret: str) -> Credentials:
    """Return a user and a password."""
    login = base64.b64encode(f"{user}:{secret}".encode("utf-8", "surrogateescape")).decode()
    return Credentials(lambda: f"Basic {login}")


def from_program(
    program: Exec, folder: str, environ: Mapping[str, str], cluster: Mapping[str, object] | None = None
) -> Credentials:
    """Return what a program prints. A path of several parts counts from `folder`; `cluster` is told to it."""
    fresh = Fresh(lambda: _printed(program, folder, environ, cluster), _EARLY_SECONDS)

    def header() -> str:
        found = fresh.get()
        return _bearer(found.token) if found and found.token else ""

    return Credentials(header, fresh)


class _Status(msgspec.Struct, frozen=True):
    token: str | None = ""
    certificate: str | None = msgspec.field(default="", name="clientCertificateData")
    key: str | None = msgspec.field(default="", name="clientKeyData")
    expires_at: datetime | None = msgspec.field(default=None, name="expirationTimestamp")


class _ExecCredential(msgspec.Struct, frozen=True):
    kind: str
    version: str = msgspec.field(name="apiVersion")
    status: _Status


def _printed(program: Exec, folder: str, environ: Mapping[str, str], cluster: Mapping[str, object] | None) -> Printed:
    """Run a program; what it prints is never shown."""
    name = printable(os.path.basename(program.command), 40)
    version = program.api_version or ""
    if version not in _VERSIONS:
        raise StoreMisconfigured(
            f"The kubeconfig's program {name} speaks {printable(version or 'no version', 60)}, which tfguard does not.",
            "Set its apiVersion to client.authentication.k8s.io/v1, if it knows that.",
        )
    asked: dict[str, Any] = {"kind": "ExecCredential", "apiVersion": version, "spec": {"interactive": False}}
    if cluster is not None:
        asked["spec"]["cluster"] = cluster
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


def _read(output: bytes, name: str, version: str) -> Printed:
    try:
        said = parse(output, _ExecCredential)
    except msgspec.DecodeError:
        raise _useless(name, "printed no ExecCredential") from None
    status = said.status
    if (said.kind, said.version) != ("ExecCredential", version):
        raise _useless(name, "printed another version than it was asked for")
    token, certificate, key = status.token or "", status.certificate or "", status.key or ""
    if not (token or certificate or key):
        raise _useless(name, "printed neither a token nor a certificate with its key")
    pair = (certificate, key) if certificate or key else None
    if pair is not None and not is_pair(*pair):
        raise _useless(name, "printed a certificate and a key that are none, or not of one another")
    ends = status.expires_at
    if ends is not None:
        ends = ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)
        if ends <= datetime.now(timezone.utc):
            raise _useless(name, "printed what has expired")
    return Printed(token, pair, ends)


def _useless(name: str, why: str, said: str = "") -> StoreDenied:
    return StoreDenied(
        f"The kubeconfig's program {name} {why}{f': {said}' if said else '.'}",
        "Run it by hand, with the same environment; it must print an ExecCredential with a token or a certificate.",
        action="authenticate",
        resource="Kubernetes",
    )


def _bearer(token: str) -> str:
    if not token.isprintable() or not token.isascii():
        raise StoreMisconfigured("The token for Kubernetes is not one line of plain letters.", "Correct it.")
    return f"Bearer {token}"
