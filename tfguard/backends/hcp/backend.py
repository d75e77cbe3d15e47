"""A cloud block, and Terraform's remote backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.hcp.locate import hcp_lock
from tfguard.backends.hcp.spec import HcpSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl
from tfguard.text import printable

requires = ()
#: A workspace takes no names of ours.
urls: Mapping[str, str] = {}
fetch = "curl -o {}"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:  # noqa: ARG001 - no path is in it
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return hcp_lock(attributes, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:  # noqa: ARG001 - it takes none
    """Refuse: no URL names a place for a lock of one's own there."""
    raise url.wrong("is no store.")


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - it has its own
    """Return the workspaces of the same organization that are locked, each by `<organization>/<workspace>`."""
    from tfguard.backends.hcp.client import Client

    assert isinstance(spec, HcpSpec)
    with closing(Client(spec.hcp)) as client:
        for each in client.workspaces(spec.organization):
            if each.attributes.locked:
                name = each.attributes.name
                yield printable(f"{spec.organization}/{name}"), msgspec.structs.replace(spec, workspace=name)


def checks() -> Checks:
    """Return the checks of the workspace, and of who we are there."""
    from tfguard.backends.hcp.checks import CHECKS

    return CHECKS
