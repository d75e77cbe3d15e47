"""Terraform's consul backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.consul.locate import access_of, consul_lock
from tfguard.backends.consul.spec import ConsulSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

requires = ()
urls = {"consul": "consul://HOST:PORT/PREFIX"}
fetch = "consul kv get {} >"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return consul_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> ConsulSpec:
    """
    Take the lock at the key `prefix/name`; the address is the environment's where the URL has none.

        consul://consul.example.com:8501/locks?scheme=https&datacenter=dc1
    """
    options = url.options("scheme", "datacenter")
    if options.get("scheme", "http") not in {"http", "https"}:
        raise url.wrong(": scheme is http or https.")
    prefix = unquote(url.parts.path).strip("/")
    settings = {"address": url.parts.netloc, **options}
    access = access_of(Attributes(settings, "lock.store"), environ, Path.cwd())
    return ConsulSpec(path=f"{prefix}/{name}" if prefix else name, consul=access)


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - a token is read by whoever needs it
    """Return the locks in the same Consul that we may list, each by the path of its state, as `Backend` has it."""
    from tfguard.backends.consul.client import Client
    from tfguard.backends.consul.store import LOCK

    assert isinstance(spec, ConsulSpec)
    with closing(Client(spec.consul)) as client:
        keys = [key for key in client.names("") if key.endswith(LOCK)]
        held = [key for key in sorted(keys) if any(entry.session for entry in client.read(key))]
    for key in held:
        path = key.removesuffix(LOCK)
        yield path, msgspec.structs.replace(spec, path=path)


def checks() -> Checks:
    """Return the checks of permissions."""
    from tfguard.backends.consul.checks import CHECKS

    return CHECKS
