"""What `tfguard doctor` looks at in Azure: what may be done with blobs, one thing after the other."""

from __future__ import annotations

from contextlib import closing

from tfguard.backends.azurerm.client import client_of
from tfguard.backends.azurerm.spec import AzureSpec, AzureState
from tfguard.backends.azurerm.store import AzureStore
from tfguard.backends.checks import Checks, Examined, Permissions, tried
from tfguard.findings import Answer, failure, ok, warning

_PERMISSIONS = Permissions(
    AzureSpec, AzureStore, "Allow {actions} (Storage Blob Data Contributor has it). {consequence}"
)


def lock_rights(lock: Examined) -> Answer | None:
    """
    Whether our record may be read, written and deleted; then all of it on a scratch record beside it.

    Who may not delete overwrites instead, and is spared the scratch record: it would stay.
    """
    deletion = _PERMISSIONS.tried(lock, AzureStore.deletion_attempt)
    if deletion is None or not deletion.denied:
        allowed = "reading, writing, deleting"
        return _PERMISSIONS.lock_rights(lock, AzureStore.attempts, allowed=allowed, scratch="record")
    found = _PERMISSIONS.tried(lock, AzureStore.attempts)
    if found is not None and found.denied:
        return failure(*_PERMISSIONS.denial(found, "Without it no lock can be held."))
    return warning(deletion.denial("deleting"), "A record that is let go is overwritten instead, and stays as a blob.")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    return _PERMISSIONS.queue_rights(lock, AzureStore.queue_attempts)


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the container may be listed: so Terraform finds workspaces."""
    state = lock.target.state_place
    if not isinstance(state, AzureState):
        return None
    with closing(client_of(state)) as client:
        found = tried({"listing": lambda: list(client.listed(state.key, 1))})
    if found.denied:
        return warning(*_PERMISSIONS.denial(found, "Without it Terraform cannot list workspaces."))
    return ok("the container can be listed")


CHECKS = Checks(
    rights={
        "permissions": lock_rights,
        "queue": queue_rights,
        "listing": listing_rights,
    }
)
