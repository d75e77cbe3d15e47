"""What `tfguard doctor` looks at in HCP Terraform: who we are, the workspace, and what our token may do there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import cast

from tfguard.backends.checks import Check, Checks, Examined
from tfguard.backends.hcp.client import Attributes, Client
from tfguard.backends.hcp.spec import HcpSpec
from tfguard.findings import Answer, failure, ok, warning
from tfguard.text import printable

#: Without these no Terraform works there, or no lock of ours can be let go.
_NEEDED = ("can-lock", "can-unlock", "can-create-state-versions")
#: `terraform force-unlock`, and ours of a lock that somebody else's token has taken.
_BY_FORCE = "can-force-unlock"
#: Older ones are refused by Terraform itself (its `internal/cloud/backend.go`).
_OLDEST_API = (2, 5)


def _asking(check: Callable[[Client, HcpSpec, Examined], Answer]) -> Check:
    """Make a check of what is asked of HCP Terraform about the lock's workspace; there is none elsewhere."""

    def asked(lock: Examined) -> Answer | None:
        spec = next((spec for spec in lock.target.stores if isinstance(spec, HcpSpec)), None)
        if spec is None:
            return None
        with closing(Client(spec.hcp)) as client:
            return check(client, spec, lock)

    return asked


def _attributes(client: Client, spec: HcpSpec, lock: Examined) -> Attributes:
    """Return what the host says of the workspace, which is asked for once."""
    if "workspace" not in lock.known:
        lock.known["workspace"] = client.workspace(spec.organization, spec.workspace).attributes
    return cast("Attributes", lock.known["workspace"])


@_asking
def token(client: Client, spec: HcpSpec, _: Examined) -> Answer:
    """Whether there is a token for the host, and where it was found. It is never shown."""
    return ok(f"there is one for {printable(spec.hcp.host, 60)} ({client.token_source})")


@_asking
def api(client: Client, spec: HcpSpec, _: Examined) -> Answer:
    """Whether the API is one that Terraform speaks: an old Terraform Enterprise may be none."""
    version = client.api_version()
    host = printable(spec.hcp.host, 60)
    try:
        spoken = tuple(map(int, version.split(".")[:2]))
    except ValueError:
        return warning(f"{host} does not say which version of the API it speaks", "See that it is 2.5 or newer.")
    if spoken < _OLDEST_API:
        says = f"{host} speaks version {printable(version, 10)} of the API, and Terraform needs 2.5"
        return failure(says, "Update Terraform Enterprise.")
    return ok(f"{host} speaks version {printable(version, 10)} of the API")


@_asking
def workspace(client: Client, spec: HcpSpec, lock: Examined) -> Answer:
    """Whether the workspace is there, and its runs are executed here: only then is its lock ours to hold."""
    found = _attributes(client, spec, lock)
    name = printable(f"{spec.organization}/{spec.workspace}", 120)
    if found.execution_mode != "local":
        # TF_FORCE_LOCAL_BACKEND, or an organization without runs of its own: else no lock of ours had been looked for.
        return ok(f"{name} is there; its runs are executed here, though its mode is {found.execution_mode}")
    return ok(f"{name} is there; its runs are executed here")


@_asking
def lock_rights(client: Client, spec: HcpSpec, lock: Examined) -> Answer:
    """
    Whether our token may lock and unlock the workspace, and save a state.

    HCP Terraform says so by itself. To try would lock it for an instant, and a plain Terraform does not wait.
    """
    allowed = _attributes(client, spec, lock).permissions
    if allowed is None:
        says = "the host does not say what our token may do with the workspace"
        return warning(says, f"{lock.again} doctor --prove-lock tries it.")
    if denied := [name for name in _NEEDED if allowed.get(name) is False]:
        advice = "Give the token's team the permission Write on the workspace. Without it no lock can be held."
        return failure(f"{', '.join(denied)}: denied in {spec.organization}/{spec.workspace}", advice)
    if allowed.get(_BY_FORCE) is False:
        says = "lock, unlock and saving a state are allowed; to unlock what somebody else has locked is not"
        return ok(says)
    return ok("lock, unlock and saving a state are allowed, and to unlock what somebody else has locked")


CHECKS = Checks(before={"token": token}, rights={"API": api, "workspace": workspace, "permissions": lock_rights})
