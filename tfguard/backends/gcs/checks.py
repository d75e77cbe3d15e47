"""What `tfguard doctor` looks at in Google Cloud Storage: the permissions, one by one, and what the bucket keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tfguard.backends.checks import Attempts, Checks, Examined, Tried, tried
from tfguard.backends.gcs.client import client_of
from tfguard.backends.gcs.spec import GcsSpec, GcsState
from tfguard.backends.gcs.store import GcsStore
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning

_DAY = 86400


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the lock may be read, written and deleted; then all of it on a scratch lock beside it."""
    found = _try(lock, GcsStore.attempts)
    if found is None:
        return None
    if found.denied:
        return failure(*_denial(found, "Without it no lock can be held."))
    allowed = ", ".join(found.allowed)
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning(f"{allowed}: allowed, but no scratch lock beside the lock", error.what)
    return ok(f"{allowed}: allowed, and tried on a scratch lock")


def beat_rights(lock: Examined) -> Answer | None:
    """Whether a heartbeat may leave the lock's object as it is."""
    found = _try(lock, GcsStore.beat_attempts)
    if found is None:
        return None
    if found.denied:
        consequence = "Without it each heartbeat writes the lock anew, and the ID for force-unlock changes with it."
        return warning(*_denial(found, consequence))
    return ok("storage.objects.update: allowed, so a heartbeat leaves the lock's generation as it is")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    found = _try(lock, GcsStore.queue_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(*_denial(found, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written")


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the bucket may be listed: so Terraform finds workspaces."""
    state = lock.target.state_place
    if not isinstance(state, GcsState):
        return None
    with closing(client_of(state)) as client:
        found = tried({"storage.objects.list": lambda: list(client.names(state.key, 1))})
    if found.denied:
        return warning(*_denial(found, "Without it Terraform cannot list workspaces."))
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
    if facts.versioning.get("enabled"):
        return ok(f"bucket {spec.bucket} keeps old versions")
    seconds = facts.soft_delete.get("retentionDurationSeconds", "0")
    if seconds.isdecimal() and int(seconds) > 0:
        return ok(f"bucket {spec.bucket} keeps what was overwritten for {int(seconds) // _DAY} days")
    return warning(f"bucket {spec.bucket} keeps no old versions of the state", "Turn its versioning on.")


def _try(lock: Examined, attempts: Callable[[GcsStore], Attempts]) -> Tried | None:
    """Try what a store of the lock's attempts; None where none of its stores is here."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(GcsStore(spec)) as store:
        return tried(attempts(store))


def _denial(found: Tried, consequence: str) -> tuple[str, str]:
    actions = ", ".join(found.denied_actions)
    return found.denial(actions), f"Allow {actions} for these credentials. {consequence}"


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
