"""A lock of a state that GitLab keeps."""

from __future__ import annotations

from tfguard.backends.http.spec import HttpAccess, HttpSpec


def gitlab_lock(address: str, access: HttpAccess | None = None) -> HttpSpec:
    """Return the spec that its usual settings give."""
    return HttpSpec(
        address=address,
        http=access or HttpAccess(),
        lock_address=f"{address}/lock",
        unlock_address=f"{address}/lock",
        lock_method="POST",
        unlock_method="DELETE",
        is_gitlab=True,
    )
