"""Terraform's azurerm backend, as `backends.Backend` asks for it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.azurerm.locate import azure_access, azure_lock
from tfguard.backends.azurerm.names import FOLDER, GUARD_SUFFIX
from tfguard.backends.azurerm.spec import AzureSpec
from tfguard.backends.checks import Checks
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

if TYPE_CHECKING:
    from tfguard.backends.azurerm import credentials as azure_credentials

#: What the extra brings is needed by whoever has a client certificate: who needs it says so.
requires = ()
urls = {"azblob": "azblob://ACCOUNT/CONTAINER/PREFIX"}
fetch = "az storage blob download --auth-mode login --account-name {host} -c {first} -n {rest} -f"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return azure_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Take the blob `prefix/name.lock` in a container; who we are comes from the environment, as Terraform's does.

        azblob://account/container/prefix
    """
    url.options()
    container, _, prefix = unquote(url.parts.path).strip("/").partition("/")
    if not url.parts.netloc or not container:
        raise url.wrong("names no container.")
    access = azure_access(Attributes({}, ""), Path(os.curdir), environ, account=url.parts.netloc)
    return AzureSpec(container=container, key=posixpath.join(prefix, name) + GUARD_SUFFIX, azure=access)


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:
    """
    Return the locks in the same container, each by `<container>/<state>`, as `Backend.locks_beside` has it.

    A state whose blob is leased is locked, by a plain Terraform perhaps; one with a record of ours is, or was.
    """
    from tfguard.backends.azurerm.client import client_of
    from tfguard.backends.azurerm.store import INFO

    assert isinstance(spec, AzureSpec)
    states: dict[str, None] = {}
    with closing(client_of(spec, cast("azure_credentials.Credentials | None", credentials))) as client:
        for each in client.listed(""):
            if each.name.startswith(FOLDER) and each.name.endswith(GUARD_SUFFIX):
                states[each.name.removeprefix(FOLDER).removesuffix(GUARD_SUFFIX)] = None
            elif each.is_leased and INFO in each.metadata:
                states[each.name] = None
    for key in states:
        guard = f"{FOLDER}{key}{GUARD_SUFFIX}"
        yield f"{spec.container}/{key}", msgspec.structs.replace(spec, key=guard, state_key=key)


def checks() -> Checks:
    """Return the checks of permissions."""
    from tfguard.backends.azurerm.checks import CHECKS

    return CHECKS
