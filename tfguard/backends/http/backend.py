"""Terraform's http backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.http.locate import http_lock
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

requires = ()
#: A server of states takes no names of ours.
urls: Mapping[str, str] = {}
fetch = "curl -o {}"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:  # noqa: ARG001 - no path is in it
    """Find the lock of a state, as `Backend.locate` has it."""
    return http_lock(attributes, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:  # noqa: ARG001 - it takes none
    """Refuse: there is no URL of a server that would name a place for a lock of one's own."""
    raise url.wrong("is no store.")


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - it has its own
    """Return the locks that are held in the same project of GitLab's; no other server tells which there are."""
    from tfguard.backends.http.listing import locks_in_project
    from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec

    assert isinstance(spec, HttpSpec | GitLabGuardSpec)
    yield from locks_in_project(spec)


def checks() -> Checks:
    """Return the checks of the server."""
    from tfguard.backends.http.checks import CHECKS

    return CHECKS
