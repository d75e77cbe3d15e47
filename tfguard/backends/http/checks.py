"""What `tfguard doctor` looks at on a server of states: whether its lock can be had, and whether it looks at IDs."""

from __future__ import annotations

from contextlib import closing

from tfguard.backends.checks import Checks, Examined, tried
from tfguard.backends.http.gitlab import GitLabGuardStore
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.http.store import HttpLockStore
from tfguard.errors import StoreMisconfigured
from tfguard.findings import Answer, failed, failure, ok


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the server gives the lock to us and takes it back. Where it is free, a look holds it for an instant."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, HttpSpec)), None)
    if spec is None:
        return None
    with closing(HttpLockStore(spec)) as store:
        found = tried({f"{spec.lock_method} of the lock": store.read})
    if found.denied:
        return failure(found.denial(spec.lock_method), found.denied[0].what)
    return ok(f"the lock can be asked for ({spec.lock_method} {store.place})")


def identity(lock: Examined) -> Answer | None:
    """Whether the server lets nobody unlock a lock by another ID: no lease can stand on one that does."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, HttpSpec)), None)
    if spec is None:
        return None
    if spec.is_gitlab:
        return ok("GitLab unlocks a lock by its own ID alone")
    with closing(HttpLockStore(spec)) as store:
        try:
            is_tried = store.try_identity()
        except StoreMisconfigured as error:
            return failed(error)
    return ok("the server unlocks a lock by its own ID alone") if is_tried else None


def guard_rights(lock: Examined) -> Answer | None:
    """Whether the guard and the queue beside the state can be read."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, GitLabGuardSpec)), None)
    if spec is None:
        return None
    with closing(GitLabGuardStore(spec)) as store:
        found = tried({"GET of the guard": store.read, "GET of the queue": store.read_queue})
    if found.denied:
        return failure(found.denial("GET"), found.denied[0].what)
    return ok(f"the guard beside the state can be read ({store.place})")


CHECKS = Checks(rights={"permissions": lock_rights, "guard": guard_rights}, places={"lock IDs": identity})
