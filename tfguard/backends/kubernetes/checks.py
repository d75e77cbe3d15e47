"""What `tfguard doctor` looks at in Kubernetes: each permission that a lock needs, asked for without a write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tfguard.backends.checks import Attempts, Checks, Examined, Tried, tried
from tfguard.backends.kubernetes.spec import KubernetesSpec
from tfguard.backends.kubernetes.store import KubernetesStore
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the Lease may be read, made and changed; then all of it on a scratch lock beside the lock."""
    found = _try(lock, KubernetesStore.attempts)
    if found is None:
        return None
    if found.denied:
        return failure(*_denial(found, "Without it no lock can be held."))
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning("leases get, create, update: allowed, but no scratch lock beside it", error.what)
    return ok("leases get, create, update: allowed, and tried on a scratch lock")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    found = _try(lock, KubernetesStore.queue_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(*_denial(found, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written (leases get, create, update)")


def watch_rights(lock: Examined) -> Answer | None:
    """Whether the release wakes who is next in line. Without it they look now and then."""
    found = _try(lock, KubernetesStore.watch_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(*_denial(found, "Without it those who wait look every few seconds, and start later."))
    return ok("leases watch: allowed, so a release wakes who is next")


def _try(lock: Examined, attempts: Callable[[KubernetesStore], Attempts]) -> Tried | None:
    """Try what a store of the lock's attempts; None where none of its stores is here."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, KubernetesSpec)), None)
    if spec is None:
        return None
    with closing(KubernetesStore(spec)) as store:
        return tried(attempts(store))


def _denial(found: Tried, consequence: str) -> tuple[str, str]:
    return found.denial(", ".join(found.denied_actions)), f"Allow it in the Role. {consequence}"


CHECKS = Checks(rights={"permissions": lock_rights, "queue": queue_rights, "watch": watch_rights})
