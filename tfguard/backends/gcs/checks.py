"""What `tfguard doctor` looks at in Google Cloud Storage: the permissions, one by one, and what the bucket keeps."""

from __future__ import annotations

from contextlib import closing

from tfguard.backends.checks import Checks, Examined, Permissions, tried
from tfguard.backends.gcs.client import client_of
from tfguard.backends.gcs.spec import GcsSpec, GcsState
from tfguard.backends.gcs.store import GcsStore
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning

_DAY = 86400

_PERMISSIONS = Permissions(GcsSpec, GcsStore, "Allow {actions} for these credentials. {consequence}")


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the lock may be read, written and deleted; then all of it on a scratch lock beside it."""
    return _PERMISSIONS.lock_rights(lock, GcsStore.attempts)


def beat_rights(lock: Examined) -> Answer | None:
    """Whether a heartbeat may leave the lock's object as it is."""
    found = _PERMISSIONS.tried(lock, GcsStore.beat_attempts)
    if found is None:
        return None
    if found.denied:
        consequence = "Without it each heartbeat writes the lock anew, and the ID for force-unlock changes with it."
        return warning(*_PERMISSIONS.denial(found, consequence))
    return ok("storage.objects.update: allowed, so a heartbeat leaves the lock's generation as it is")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    return _PERMISSIONS.queue_rights(lock, GcsStore.queue_attempts)


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the bucket may be listed: so Terraform finds workspaces."""
    state = lock.target.state_place
    if not isinstance(state, GcsState):
        return None
    with closing(client_of(state)) as client:
        found = tried({"storage.objects.list": lambda: list(client.names(state.key, 1))})
    if found.denied:
        return warning(*_PERMISSIONS.denial(found, "Without it Terraform cannot list workspaces."))
    return ok("the bucket can be listed (storage.objects.list)")


def keeping(lock: Examined) -> Answer | None:
    """Whether an overwritten state can be had back, and whether a lock can be released at all."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    try:
        with closing(client_of(spec)) as client:
            facts = client.facts()
    except ActionDenied as error:
        return warning("no permission to ask what the bucket keeps", error.what)
    if facts.retention:
        says = f"bucket {spec.bucket} has a retention policy: no lock can be released there, nor Terraform's own"
        return failure(says, "Take the retention policy off, or keep states in another bucket.")
    if not isinstance(lock.target.state_place, GcsState):
        return None  # The state is elsewhere.
    if facts.versioning.get("enabled"):
        return ok(f"bucket {spec.bucket} keeps old versions")
    seconds = facts.soft_delete.get("retentionDurationSeconds", "0")
    if seconds.isdecimal() and int(seconds) > 0:
        return ok(f"bucket {spec.bucket} keeps what was overwritten for {int(seconds) // _DAY} days")
    return warning(f"bucket {spec.bucket} keeps no old versions of the state", "Turn its versioning on.")


def _spec_of(lock: Examined) -> GcsSpec | None:
    return next((spec for spec in lock.target.stores if isinstance(spec, GcsSpec)), None)


CHECKS = Checks(
    rights={
        "permissions": lock_rights,
        "heartbeat": beat_rights,
        "queue": queue_rights,
        "listing": listing_rights,
    },
    places={"versioning": keeping},
)
