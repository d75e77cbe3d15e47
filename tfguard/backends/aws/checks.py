"""What `tfguard doctor` looks at on AWS: the permissions, and the table and bucket that a lock stands on."""

from __future__ import annotations

from tfguard.backends.aws.facts import (
    bucket_client,
    bucket_region,
    is_unknown_action,
    is_versioned,
    read_table,
    table_client,
)
from tfguard.backends.aws.identity import as_terraform, identity
from tfguard.backends.aws.rights import copy_rights, listing_rights, lock_rights, queue_rights
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec, S3State
from tfguard.backends.aws.tables import judge_table, where_else
from tfguard.backends.checks import Checks, Examined
from tfguard.backends.state import has_digest, mismatch
from tfguard.errors import ActionDenied, StoreMisconfigured
from tfguard.findings import Answer, failure, ok, warning


def region(lock: Examined) -> Answer | None:
    """
    Whether bucket and table are where the backend's `region` says.

    S3 tells where a bucket is. A table that is missing is looked for where AWS_REGION points.
    """
    state, spec = _bucket_of(lock), _table_of(lock)
    if state is None:
        return None
    try:
        with bucket_client(state) as client:
            wanted, actual, is_aws = client.region, bucket_region(client, state.bucket), client.is_aws
    except StoreMisconfigured:
        return None  # There is no such bucket: others say so better.
    except ActionDenied as error:
        return warning("no permission to ask for the bucket's region", str(error).splitlines()[0])
    if actual and actual != wanted:
        judge = failure if is_aws else warning  # What only speaks S3's protocol takes any region for its own.
        says = f"bucket {state.bucket} is in {actual}, and the backend says {wanted}"
        return judge(says, f"Set region to {actual} in the backend, then: {lock.again} init -reconfigure")
    if spec is not None and (elsewhere := where_else(spec, wanted)):
        return failure(
            f"table {spec.table} is in {elsewhere}, and the backend says {wanted}",
            f"Create it in {wanted} (tfguard bootstrap), or correct region and bucket in the backend.",
        )
    return ok(f"{wanted}, as the backend says") if actual else None


def table(lock: Examined) -> Answer | None:
    """Whether the table is one that can hold a lock: its key, its status, its place in the world."""
    spec = _table_of(lock)
    if spec is None:
        return None
    try:
        with table_client(spec) as client:
            facts = read_table(client, spec.table)
    except ActionDenied as error:
        return warning("no permission to describe the table", str(error).splitlines()[0])
    except StoreMisconfigured as error:
        if not is_unknown_action(error):
            raise
        return warning("this server does not tell what the table is like", "See that its key is LockID, a string.")
    if facts is None:
        return failure(f"there is no table {spec.table} in this region", f"{lock.again} bootstrap creates it.")
    return judge_table(facts)


def versioning(lock: Examined) -> Answer | None:
    """Whether an overwritten state can be had back."""
    state = _bucket_of(lock)
    if state is None:
        return None
    try:
        with bucket_client(state) as client:
            is_on = is_versioned(client, state.bucket)
    except ActionDenied as error:
        return warning("no permission to ask whether the bucket keeps old versions", str(error).splitlines()[0])
    if is_on:
        return ok(f"bucket {state.bucket} keeps old versions")
    return warning(f"bucket {state.bucket} keeps no old versions of the state", "Turn its versioning on.")


def deprecated_table(lock: Examined) -> Answer | None:
    """`dynamodb_table` alone works, and will be removed from Terraform; OpenTofu keeps it."""
    if lock.target.backend != "s3" or _table_of(lock) is None:
        return None
    kind, version = lock.binary()
    if kind == "tofu" or _is_before(version, 11):
        return None
    if any(isinstance(spec, S3Spec) for spec in lock.target.stores):
        return ok("dynamodb_table and use_lockfile together: once every user has both, take dynamodb_table out")
    return warning(
        "dynamodb_table is deprecated since Terraform 1.11",
        "Add use_lockfile = true beside it everywhere, each time with init -reconfigure;"
        " when all have both, take dynamodb_table out.",
    )


def _is_before(version: str, minor: int) -> bool:
    """Whether a Terraform is older than 1.`minor`."""
    major, _, rest = version.partition(".")
    return (int(major or 0), int(rest.partition(".")[0] or 0)) < (1, minor)


def digest(lock: Examined) -> Answer | None:
    """Whether the state is the one whose digest is in the table: otherwise no Terraform reads it."""
    if not has_digest(lock.target):
        return None
    found = mismatch(lock.target)
    if found is None:
        return ok("the state and its digest agree")
    says = (
        f"the state's digest is {found.actual or 'missing'}, and the table says {found.stored}: no Terraform reads it"
    )
    mend = f"{lock.again} doctor --repair-digest" if found.actual else "Restore a version of it from the bucket."
    return failure(says, mend)


def _table_of(lock: Examined) -> DynamoDBSpec | None:
    return next((spec for spec in lock.target.stores if isinstance(spec, DynamoDBSpec)), None)


def _bucket_of(lock: Examined) -> S3State | None:
    state = lock.target.state_place
    return state if isinstance(state, S3State) else None


CHECKS = Checks(
    before={"identity": identity},
    as_terraform={"as Terraform": as_terraform},
    rights={
        "permissions": lock_rights,
        "queue": queue_rights,
        "listing": listing_rights,
        "rescue": copy_rights,
    },
    places={
        "region": region,
        "table": table,
        "versioning": versioning,
        "dynamodb_table": deprecated_table,
        "digest": digest,
    },
)
