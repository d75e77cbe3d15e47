"""Checks of permissions: each one that a lock needs, tried without changing anything, and named where it is denied."""

from __future__ import annotations

from tfguard.backends.aws.permissions import try_copy, try_listing, try_lock, try_queue
from tfguard.backends.aws.spec import S3Spec, S3State
from tfguard.backends.checks import Examined, Tried
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """
    Whether the lock's record may be read, created, replaced and deleted.

    Each is tried on the record itself with what changes nothing; then all on a scratch record beside it, which is
    written and deleted, for what no permission tells: a key that may not encrypt, a server that ignores conditions.
    """
    tried = try_lock(lock.target)
    if tried.denied:
        return failure(*_denial(tried, "Without it no lock can be held."))
    if not tried.allowed:
        return None
    try:
        lock.try_writing()
    except ActionDenied as error:
        first = str(error).splitlines()[0]
        return warning(f"{_listed(tried.allowed)}: allowed, but no scratch record beside the lock", first)
    return ok(f"{_listed(tried.allowed)}: allowed, and tried on a scratch record")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    tried = try_queue(lock.target)
    if tried.denied:
        return warning(*_denial(tried, "Without it there is no line, no fencing token and no history."))
    return ok(f"the queue record can be read and written ({_listed(tried.allowed)})") if tried.allowed else None


def copy_rights(lock: Examined) -> Answer | None:
    """Whether a state that Terraform could not save may be kept beside the state, or beside its lock's guard."""
    state = lock.target.copies_place
    if not isinstance(state, S3State):
        return None
    tried = try_copy(state)
    if tried.denied:
        return warning(*_denial(tried, "Without it an unsaved state stays on the machine that has it."))
    return ok(f"a state that could not be saved can be kept in the bucket ({_listed(tried.allowed)})")


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the bucket may be listed: so Terraform finds workspaces, and S3 tells absent from forbidden."""
    target = lock.target
    if not isinstance(target.state_place, S3State):
        return None
    tried = try_listing(target.state_place)
    if not tried.denied:
        return ok(f"the bucket can be listed ({_listed(tried.allowed)})")
    if any(isinstance(spec, S3Spec) for spec in target.stores):
        return failure(*_denial(tried, "Without it S3 denies to read a lock that is not there."))
    if target.workspace not in ("", "default"):
        return failure(*_denial(tried, "Without it only the default workspace can be locked."))
    return warning(*_denial(tried, "Without it only the default workspace can be locked."))


def _denial(tried: Tried, consequence: str) -> tuple[str, str]:
    actions = _listed(tried.denied_actions)
    return tried.denial(actions), f"Allow {actions} for these credentials. {consequence}"


def _listed(actions: tuple[str, ...]) -> str:
    """Write `dynamodb:GetItem, PutItem; s3:GetObject`: the service once."""
    by_service: dict[str, list[str]] = {}
    for action in actions:
        service, _, name = action.partition(":")
        by_service.setdefault(service, []).append(name)
    return "; ".join(f"{service}:{', '.join(dict.fromkeys(names))}" for service, names in by_service.items())
