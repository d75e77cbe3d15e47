"""What `tfguard doctor` looks at in Google Cloud Storage: the permissions, one by one, and what the bucket keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from tfguard.backends.checks import Checks, Examined
from tfguard.backends.gcs.client import client_of
from tfguard.backends.gcs.spec import GcsSpec, GcsState
from tfguard.backends.gcs.store import GcsStore
from tfguard.errors import ActionDenied, Conflict
from tfguard.findings import Answer, failure, ok, warning

_DAY = 86400


def lock_rights(lock: Examined) -> Answer | None:
    """Whether the lock may be read, written and deleted; then all of it on a scratch lock beside it."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(GcsStore(spec)) as store:
        attempts = store.attempts()
        denied = _denied(attempts)
    if denied:
        return failure(*_denial(denied, "Without it no lock can be held."))
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning(f"{', '.join(attempts)}: allowed, but no scratch lock beside the lock", error.what)
    return ok(f"{', '.join(attempts)}: allowed, and tried on a scratch lock")


def beat_rights(lock: Examined) -> Answer | None:
    """Whether a heartbeat may leave the lock's object as it is."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(GcsStore(spec)) as store:
        denied = _denied(store.beat_attempts())
    if denied:
        consequence = "Without it each heartbeat writes the lock anew, and the ID for force-unlock changes with it."
        return warning(*_denial(denied, consequence))
    return ok("storage.objects.update: allowed, so a heartbeat leaves the lock's generation as it is")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(GcsStore(spec)) as store:
        denied = _denied(store.queue_attempts())
    if denied:
        return warning(*_denial(denied, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written")


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the bucket may be listed: so Terraform finds workspaces."""
    state = lock.target.state_place
    if not isinstance(state, GcsState):
        return None
    with closing(client_of(state)) as client:
        denied = _denied({"storage.objects.list": lambda: list(client.names(state.key, 1))})
    if denied:
        return warning(*_denial(denied, "Without it Terraform cannot list workspaces."))
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


def _denied(attempts: Mapping[str, Callable[[], object]]) -> list[ActionDenied]:
    found = []
    for attempt in attempts.values():
        try:
            attempt()
        except Conflict:
            pass  # Allowed: it was refused for its condition alone.
        except ActionDenied as error:
            found.append(error)
    return found


def _denial(denied: list[ActionDenied], consequence: str) -> tuple[str, str]:
    actions = ", ".join(dict.fromkeys(error.action for error in denied))
    places = " and ".join(dict.fromkeys(error.resource for error in denied))
    return f"{actions}: denied on {places}", f"Allow {actions} for these credentials. {consequence}"


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
