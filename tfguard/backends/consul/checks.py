"""What `tfguard doctor` looks at in Consul: each permission that a lock needs, tried without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from tfguard.backends.checks import Checks, Examined
from tfguard.backends.consul.answers import WHERE_TOKENS_COME_FROM
from tfguard.backends.consul.spec import ConsulSpec
from tfguard.backends.consul.store import ConsulStore
from tfguard.errors import ActionDenied, Conflict
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """Whether keys may be read and written, and sessions made; then all of it on a scratch lock beside the lock."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(ConsulStore(spec)) as store:
        denied = _denied(store.attempts())
    if denied:
        return failure(*_denial(denied, "Without it no lock can be held."))
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning("key:read, key:write, session:write: allowed, but no scratch lock beside it", error.what)
    return ok("key:read, key:write, session:write: allowed, and tried on a scratch lock")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    spec = _spec_of(lock)
    if spec is None:
        return None
    with closing(ConsulStore(spec)) as store:
        denied = _denied(store.queue_attempts())
    if denied:
        return warning(*_denial(denied, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written (key:read, key:write)")


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
    return f"{actions}: denied on {places}", f"Allow it in the token's policy. {consequence} {WHERE_TOKENS_COME_FROM}"


def _spec_of(lock: Examined) -> ConsulSpec | None:
    return next((spec for spec in lock.target.stores if isinstance(spec, ConsulSpec)), None)


CHECKS = Checks(rights={"permissions": lock_rights, "queue": queue_rights})
