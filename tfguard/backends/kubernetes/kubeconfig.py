"""
Kubeconfigs, read as Terraform's client for Kubernetes reads them.

One file is the whole truth; of several the first that names something is believed, and those that are not there are
passed over. A path in a file counts from that file's own folder.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from tfguard.errors import StoreMisconfigured
from tfguard.text import printable
from tfguard.wire import convert

_MAX_BYTES = 4 * 1024 * 1024


class _Part(msgspec.Struct, frozen=True, rename="kebab"):
    """What any of the parts has: the file that it stands in."""

    origin: str = msgspec.field(default="", name=" origin")

    def file(self, path: str | None) -> str:
        """Return a path in it as one from anywhere."""
        return os.path.join(os.path.dirname(self.origin), path) if path else ""


class Extension(msgspec.Struct, frozen=True):
    """What a cluster has to say to somebody: `EXEC` names the programs of its users."""

    EXEC: ClassVar[str] = "client.authentication.k8s.io/exec"

    name: str
    extension: Any = None


class Cluster(_Part, frozen=True, rename="kebab"):
    """A cluster: its server, and the certificates that are believed there, as a file or as base64."""

    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None
    extensions: list[Extension] | None = None


class Exec(msgspec.Struct, frozen=True):
    """A program that prints a token, or a certificate. `wants_cluster`: it is told which cluster it is for."""

    command: str
    api_version: str | None = msgspec.field(default=None, name="apiVersion")
    args: list[str] | None = None
    env: list[dict[str, str]] | None = None
    wants_cluster: bool | None = msgspec.field(default=None, name="provideClusterInfo")


class AuthProvider(msgspec.Struct, frozen=True):
    """What Kubernetes' clients had built in once for some clouds."""

    name: str = ""


class User(_Part, frozen=True, rename="kebab"):
    """Who asks, in one of the ways in which one can be known. Holds secrets."""

    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    username: str | None = None
    password: str | None = None
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    exec: Exec | None = None
    auth_provider: AuthProvider | None = None
    act_as: str | None = msgspec.field(default=None, name="as")
    act_as_uid: str | None = msgspec.field(default=None, name="as-uid")
    act_as_groups: list[str] | None = msgspec.field(default=None, name="as-groups")
    act_as_extra: dict[str, list[str]] | None = msgspec.field(default=None, name="as-user-extra")

    def __repr__(self) -> str:
        return "User(…)"


class _Context(_Part, frozen=True, rename="kebab"):
    cluster: str | None = None
    user: str | None = None


class Config(msgspec.Struct, frozen=True):
    """What the context in use says. `Cluster()` and `User()` say nothing at all."""

    cluster: Cluster = Cluster()
    user: User = User()


def read(paths: Sequence[str], context: str, user: str, cluster: str) -> Config:
    """
    Return what kubeconfigs say; `context`, `user` and `cluster` go before what they name themselves.

    Raises:
        StoreMisconfigured: A file that is none, or one that does not have what is named.
    """
    files = [found for path in paths if (found := _load(path)) is not None]
    if not files:
        return Config()
    named = context or next(filter(None, (file.current for file in files)), "")
    chosen = _find(files, "contexts", named, _Context) if named else _Context()
    user, cluster = user or chosen.user or "", cluster or chosen.cluster or ""
    return Config(
        cluster=_find(files, "clusters", cluster, Cluster) if cluster else Cluster(),
        user=_find(files, "users", user, User) if user else User(),
    )


def decoded(text: str, what: str) -> str:
    """Return what stands in base64, as a text. Raises StoreMisconfigured."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise StoreMisconfigured(f"The kubeconfig's {what} is no base64.", "Correct it, or name a file.") from error


class _File(msgspec.Struct, frozen=True):
    path: str
    current: str
    parts: dict[str, dict[str, Any]]


_SECTIONS = {"contexts": "context", "clusters": "cluster", "users": "user"}


def _load(path: str) -> _File | None:
    """Read one file; None where there is none."""
    import yaml

    try:
        with open(path, "rb") as file:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(file.read(_MAX_BYTES))
        found = loader.get_single_data()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _useless(path, f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _useless(path, "is no YAML") from error
    if found is not None and not isinstance(found, dict):
        raise _useless(path, "is no kubeconfig")
    parts: dict[str, dict[str, Any]] = {}
    for section, word in _SECTIONS.items():
        entries = (found or {}).get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _useless(path, f"is no kubeconfig: {section} is no list")
        parts[section] = {str(entry.get("name")): entry.get(word) or {} for entry in entries}
    return _File(path, str((found or {}).get("current-context") or ""), parts)


def _find(files: list[_File], section: str, name: str, kind: type[Any]) -> Any:
    for file in files:
        if name in file.parts[section]:
            try:
                return convert({**file.parts[section][name], " origin": file.path}, kind)
            except (msgspec.ValidationError, TypeError) as error:
                what = f"has {_SECTIONS[section]} {printable(name, 40)!r} that is none"
                raise _useless(file.path, what) from error
    paths = ", ".join(printable(file.path, 60) for file in files)
    raise StoreMisconfigured(
        f"There is no {_SECTIONS[section]} {printable(name, 40)!r} in {paths}.",
        "Correct `config_path` and `config_context` in the backend, or KUBE_CONFIG_PATH and KUBE_CTX.",
    )


def _useless(path: str, why: str) -> StoreMisconfigured:
    return StoreMisconfigured(
        f"The kubeconfig {printable(path, 80)} {printable(why, 80)}.",
        "Correct it, or `config_path` in the backend, or KUBE_CONFIG_PATH.",
    )
