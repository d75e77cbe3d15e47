"""
Each permission that a lock needs, tried one by one without changing anything.

A write, or a deletion, that is tried asks for something that never holds. Permissions are looked at first: who lacks
one is told so, and who has it is refused for the condition alone.
"""

from __future__ import annotations

from contextlib import closing

from tfguard.backends.aws.dynamodb import DynamoDBStore
from tfguard.backends.aws.s3 import S3Store
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec, S3State
from tfguard.backends.checks import Tried, tried
from tfguard.backends.target import Target
from tfguard.lock.names import COPY_MARK, QUEUE_SUFFIX, beside_lock


def try_lock(target: Target) -> Tried:
    """
    Try what taking, beating and releasing the lock takes.

    Raises: StoreUnavailable, StoreDenied (of the credentials as such), StoreMisconfigured. So do all here.
    """
    found = Tried()
    for spec in target.stores:
        if isinstance(spec, DynamoDBSpec):
            with closing(DynamoDBStore(spec)) as table:
                found += tried(table.attempts_on(spec.lock_id))
        elif isinstance(spec, S3Spec):
            with closing(S3Store(spec)) as bucket:
                found += tried(bucket.attempts_on(spec.key))
    return found


def try_queue(target: Target) -> Tried:
    """Try what the queue record takes, which is kept in the last of the lock's stores."""
    spec = target.stores[-1]
    if isinstance(spec, DynamoDBSpec):
        with closing(DynamoDBStore(spec)) as table:
            return _only(tried(table.attempts_on(spec.lock_id + QUEUE_SUFFIX)), "GetItem", "PutItem")
    assert isinstance(spec, S3Spec)
    with closing(S3Store(spec)) as bucket:
        return _only(tried(bucket.attempts_on(beside_lock(spec.key, QUEUE_SUFFIX))), "GetObject", "PutObject")


def try_copy(state: S3State) -> Tried:
    """Try to write a copy of a state that Terraform could not save."""
    with closing(S3Store(state)) as bucket:
        return _only(tried(bucket.attempts_on(f"{state.key}{COPY_MARK}tfguard-probe")), "PutObject")


def try_listing(state: S3State) -> Tried:
    """Try to list the bucket."""
    with closing(S3Store(state)) as bucket:
        return tried({"s3:ListBucket": lambda: bucket.list_keys(state.key, 1)})


def _only(found: Tried, *names: str) -> Tried:
    """What was found of these actions: every attempt had to be made, for the last one may clean up."""
    return Tried(
        tuple(action for action in found.allowed if action.partition(":")[2] in names),
        tuple(error for error in found.denied if error.action.partition(":")[2] in names),
    )
