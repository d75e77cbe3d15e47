"""What `tfguard doctor` looks at in Kubernetes: each permission that a lock needs, asked for without a write."""

from __future__ import annotations

from tfguard.backends.checks import Checks, Examined, Permissions
from tfguard.backends.kubernetes.spec import KubernetesSpec
from tfguard.backends.kubernetes.store import KubernetesStore
from tfguard.findings import Answer, ok, warning

_PERMISSIONS = Permissions(KubernetesSpec, KubernetesStore, "Allow it in the Role. {consequence}")


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the Lease may be read, made and changed; then all of it on a scratch lock beside the lock."""
    return _PERMISSIONS.lock_rights(lock, KubernetesStore.attempts, allowed="leases get, create, update", beside="it")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    return _PERMISSIONS.queue_rights(lock, KubernetesStore.queue_attempts, by=" (leases get, create, update)")


def watch_rights(lock: Examined) -> Answer | None:
    """Whether the release wakes who is next in line. Without it they look now and then."""
    found = _PERMISSIONS.tried(lock, KubernetesStore.watch_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(
            *_PERMISSIONS.denial(found, "Without it those who wait look every few seconds, and start later.")
        )
    return ok("leases watch: allowed, so a release wakes who is next")


CHECKS = Checks(rights={"permissions": lock_rights, "queue": queue_rights, "watch": watch_rights})
