"""What `tfguard doctor` looks at in Azure: what may be done with blobs, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tfguard.backends.azurerm.client import client_of
from tfguard.backends.azurerm.spec import AzureSpec, AzureState
from tfguard.backends.azurerm.store import AzureStore
from tfguard.backends.checks import Attempts, Checks, Examined, Tried, tried
from tfguard.errors import ActionDenied
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """Whether our record may be read, written and deleted; then all of it on a scratch record beside it."""
    found = _try(lock, AzureStore.attempts)
    if found is None:
        return None
    if found.denied:
        return failure(*_denial(found, "Without it no lock can be held."))
    allowed = ", ".join(found.allowed)
    try:
        lock.try_writing()
    except ActionDenied as error:
        return warning(f"{allowed}: allowed, but no scratch record beside the lock", error.what)
    return ok(f"{allowed}: allowed, and tried on a scratch record")


def queue_rights(lock: Examined) -> Answer | None:
    """Whether the queue record may be read and written. It is advisory, so its absence is no failure."""
    found = _try(lock, AzureStore.queue_attempts)
    if found is None:
        return None
    if found.denied:
        return warning(*_denial(found, "Without it there is no line, no fencing token and no history."))
    return ok("the queue record can be read and written")


def listing_rights(lock: Examined) -> Answer | None:
    """Whether the container may be listed: so Terraform finds workspaces."""
    state = lock.target.state_place
    if not isinstance(state, AzureState):
        return None
    with closing(client_of(state)) as client:
        found = tried({"listing": lambda: list(client.listed(state.key, 1))})
    if found.denied:
        return warning(*_denial(found, "Without it Terraform cannot list workspaces."))
    return ok("the container can be listed")


def _try(lock: Examined, attempts: Callable[[AzureStore], Attempts]) -> Tried | None:
    """Try what a store of the lock's attempts; None where none of its stores is here."""
    spec = next((spec for spec in lock.target.stores if isinstance(spec, AzureSpec)), None)
    if spec is None:
        return None
    with closing(AzureStore(spec)) as store:
        return tried(attempts(store))


def _denial(found: Tried, consequence: str) -> tuple[str, str]:
    actions = ", ".join(found.denied_actions)
    return found.denial(actions), f"Allow {actions} (Storage Blob Data Contributor has it). {consequence}"


CHECKS = Checks(
    rights={
        "permissions": lock_rights,
        "queue": queue_rights,
        "listing": listing_rights,
    }
)
