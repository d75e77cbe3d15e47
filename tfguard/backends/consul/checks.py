"""What `tfguard doctor` looks at in Consul: each permission that a lock needs, tried without changing anything."""

from __future__ import annotations

from tfguard.backends.checks import Checks, Examined, Permissions
from tfguard.backends.consul.answers import WHERE_TOKENS_COME_FROM
from tfguard.backends.consul.spec import ConsulSpec
from tfguard.backends.consul.store import ConsulStore
from tfguard.findings import Answer

_PERMISSIONS = Permissions(
    ConsulSpec, ConsulStore, f"Allow it in the token's policy. {{consequence}} {WHERE_TOKENS_COME_FROM}"
)


def lock_rights(lock: Examined) -> Answer | None:
    """Whether keys may be read and written, and sessions made; then all of it on a scratch lock beside the lock."""
    return _PERMISSIONS.lock_rights(
        lock, ConsulStore.attempts, allowed="key:read, key:write, session:write", beside="it"
    )


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    return _PERMISSIONS.queue_rights(lock, ConsulStore.queue_attempts, by=" (key:read, key:write)")


CHECKS = Checks(rights={"permissions": lock_rights, "queue": queue_rights})
