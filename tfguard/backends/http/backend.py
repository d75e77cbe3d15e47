"""Terraform's http backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.http.addresses import GUARD, QUEUE
from tfguard.backends.http.locate import http_lock
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

requires = ()
#: A server of states takes no names of ours.
urls: Mapping[str, str] = {}
fetch = 'curl -fsS -u "$TF_HTTP_USERNAME:$TF_HTTP_PASSWORD" {place} -o'


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:  # noqa: ARG001 - no path is in it
    """Find the lock of a state, as `Backend.locate` has it."""
    return http_lock(attributes, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:  # noqa: ARG001 - it takes none
    """Refuse: there is no URL of a server that would name a place for a lock of one's own."""
    raise url.wrong("is no store.")


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - it has its own
    """
    Return what is held in the same project on GitLab, as `Backend.locks_beside` has it.

    For a guard those are guards, for a lock what GitLab says to be locked. No other server tells which there are.
    """
    from tfguard.backends.http.listing import states_beside

    assert isinstance(spec, HttpSpec | GitLabGuardSpec)
    states = states_beside(spec.address, spec.http)
    base = spec.address.partition("?")[0].rpartition("/")[0]
    for name, is_locked in states.items():
        if any(name.endswith(end) and name.removesuffix(end) in states for end in (QUEUE, GUARD)):
            continue  # It is no state, but ours beside one.
        address = f"{base}/{quote(name, safe='')}"
        if isinstance(spec, GitLabGuardSpec):
            guard = msgspec.structs.replace(spec, address=address)
            if f"{name}{GUARD}" in states and _is_held(guard):
                yield name, guard
        elif is_locked:
            lock = f"{address}/lock"
            yield name, msgspec.structs.replace(spec, address=address, lock_address=lock, unlock_address=lock)


def _is_held(guard: GitLabGuardSpec) -> bool:
    with closing(guard.open()) as store:
        return store.read() is not None


def checks() -> Checks:
    """Return the checks of the server."""
    from tfguard.backends.http.checks import CHECKS

    return CHECKS
