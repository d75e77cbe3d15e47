"""Checks of what a lock stands on: its table and bucket, and where they are. What we may not ask is no failure."""

from __future__ import annotations

from datetime import datetime

from tfguard.backends.aws.facts import (
    bucket_client,
    bucket_region,
    is_unknown_action,
    is_versioned,
    read_table,
    table_client,
)
from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.bootstrap.judge import judge_table, where_else
from tfguard.doctor.examination import StatePatient
from tfguard.errors import ActionDenied, StoreMisconfigured, TfguardError
from tfguard.findings import Answer, failure, ok, warning


def region(patient: StatePatient) -> Answer | None:
    """
    Whether bucket and table are where the backend's `region` says.

    S3 tells where a bucket is. A table that is missing is looked for where AWS_REGION points.
    """
    state, spec = patient.target.state, _table_of(patient)
    if state is None:
        return None
    try:
        with bucket_client(state) as client:
            wanted, actual, is_aws = client.region, bucket_region(client, state.bucket), client.is_aws
    except StoreMisconfigured:
        return None  # There is no such bucket: others say so better.
    except ActionDenied as error:
        return warning("nobody may tell us where the bucket is", str(error).splitlines()[0])
    if actual and actual != wanted:
        judge = failure if is_aws else warning  # What only speaks S3's protocol takes any region for its own.
        says = f"bucket {state.bucket} is in {actual}, and the backend says {wanted}"
        return judge(says, f"Set region to {actual} in the backend, then: {patient.again} init -reconfigure")
    if spec is not None and (elsewhere := where_else(spec, wanted)):
        return failure(
            f"table {spec.table} is in {elsewhere}, and the backend says {wanted}",
            f"Create it in {wanted} (tfguard bootstrap), or correct region and bucket in the backend.",
        )
    return ok(f"{wanted}, as the backend says") if actual else None


def table(patient: StatePatient) -> Answer | None:
    """Whether the table is one that can hold a lock: its key, its status, its place in the world."""
    spec = _table_of(patient)
    if spec is None:
        return None
    try:
        with table_client(spec) as client:
            facts = read_table(client, spec.table)
    except ActionDenied as error:
        return warning("nobody may tell us what the table is like", str(error).splitlines()[0])
    except StoreMisconfigured as error:
        if not is_unknown_action(error):
            raise
        return warning("this server does not tell what the table is like", "See that its key is LockID, a string.")
    if facts is None:
        return failure(f"there is no table {spec.table} in this region", f"{patient.again} bootstrap creates it.")
    return judge_table(facts)


def versioning(patient: StatePatient) -> Answer | None:
    """Whether an overwritten state can be had back."""
    state = patient.target.state
    if state is None:
        return None
    try:
        with bucket_client(state) as client:
            is_on = is_versioned(client, state.bucket)
    except ActionDenied as error:
        return warning("nobody may tell us if the bucket keeps old versions", str(error).splitlines()[0])
    if is_on:
        return ok(f"bucket {state.bucket} keeps old versions")
    return warning(f"bucket {state.bucket} keeps no old versions of the state", "Turn its versioning on.")


def bucket_date(patient: StatePatient) -> datetime | None:
    """What the bucket's server says that it is now; None where there is no bucket, or it does not tell us."""
    state = patient.target.state
    if state is None:
        return None
    try:
        with bucket_client(state) as client:
            bucket_region(client, state.bucket)
            return client.date
    except TfguardError:
        return None


def _table_of(patient: StatePatient) -> DynamoDBSpec | None:
    return next((spec for spec in patient.target.stores if isinstance(spec, DynamoDBSpec)), None)
