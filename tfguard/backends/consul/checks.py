"""What `tfguard doctor` looks at in Consul: each permission that a lock needs, tried without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tfguard.backends.checks import Attempts, Checks, Examined, Tried, tried
from tfguard.backends.consul.answers import WHERE_TOKENS_COME_FROM
from tfguard.backends.consul.spec import ConsulSpec
from tfguard.backends.consul.store import ConsulStore
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """Whether keys may be read and written, and sessions made; then all of it on a scratch lock beside the lock."""
    found = _try(lock, ConsulStore.attempts)
    if found is None:
        return None
    if found.denied:
        return failure(*_denial(found, "Without it no lock can be held."))
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning("key:read, key:write, session:write: allowed, but no scratch lock beside it", error.what)
    return ok("key:read, key:write, session:write: allowed, and tried on a scratch lock")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    found = _try(lock, ConsulStore.queue_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(*_denial(found, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written (key:read, key:write)")


def _try(lock: Examined, attempts: Callable[[ConsulStore], Attempts]) -> Tried | None:
    """Try what a store of the lock's attempts; None where none of its stores is here."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, ConsulSpec)), None)
    if spec is None:
        return None
    with closing(ConsulStore(spec)) as store:
        return tried(attempts(store))


def _denial(found: Tried, consequence: str) -> tuple[str, str]:
    advice = f"Allow it in the token's policy. {consequence} {WHERE_TOKENS_COME_FROM}"
    return found.denial(", ".join(found.denied_actions)), advice


CHECKS = Checks(rights={"permissions": lock_rights, "queue": queue_rights})
