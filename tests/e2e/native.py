"""What the tests on other backends than AWS's start from."""

from __future__ import annotations

from tests.e2e.conftest import Stage

APPLY = ("apply", "-auto-approve", "-input=false")
QUICK_BEATS = {"TFGUARD_LOCK_LEASE": "18s"}


def generation(made: Stage) -> str:
    """The number that Terraform knows a lock on Google's storage by."""
    number: str = made.gcs.about(made.bucket, f"{made.key}/default.tflock")["generation"]
    return number


def inner_id(made: Stage) -> str:
    """The ID of Terraform's own lock on a state in Azure, empty where it is free."""
    found = made.azure.holder(made.bucket, made.key)
    return found.id if found else ""
