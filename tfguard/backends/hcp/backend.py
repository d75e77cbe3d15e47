"""A cloud block, and Terraform's remote backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.hcp.locate import hcp_lock
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl
from tfguard.errors import ConfigError

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


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - nobody is asked
    """Refuse: which workspaces are locked is shown by HCP Terraform itself."""
    raise ConfigError("HCP Terraform itself shows which workspaces are locked.", "Ask for one's: tfguard status")


def checks() -> Checks:
    """Return no checks of its own: that it answers is seen by what every lock is asked."""
    return Checks()
