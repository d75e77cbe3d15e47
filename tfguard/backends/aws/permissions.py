"""
Each permission that a lock needs, tried one by one without changing anything.

A write, or a deletion, that is tried asks for something that never holds. Permissions are looked at first: who lacks
one is told so, and who has it is refused for the condition alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from tfguard.backends.aws.dynamodb import DynamoDBStore
from tfguard.backends.aws.s3 import S3Store
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec, S3State
from tfguard.backends.target import Target
from tfguard.errors import ActionDenied, Conflict
from tfguard.lock.names import COPY_MARK, QUEUE_SUFFIX, beside_lock

Attempts = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Tried:
    """What came of trying: actions such as `s3:PutObject`, and what AWS says where it denies one."""

    allowed: tuple[str, ...] = ()
    denied: tuple[ActionDenied, ...] = ()

    def __add__(self, other: Tried) -> Tried:
        return Tried(self.allowed + other.allowed, self.denied + other.denied)


def try_lock(target: Target) -> Tried:
    """
    Try what taking, beating and releasing the lock takes.

    Raises: StoreUnavailable, StoreDenied (of the credentials as such), StoreMisconfigured. So do all here.
    """
    found = Tried()
    for spec in target.stores:
        if isinstance(spec, DynamoDBSpec):
            with closing(DynamoDBStore(spec)) as table:
                found += _tried(table.attempts_on(spec.lock_id))
        elif isinstance(spec, S3Spec):
            with closing(S3Store(spec)) as bucket:
                found += _tried(bucket.attempts_on(spec.key))
    return found


def try_queue(target: Target) -> Tried:
    """Try what the queue record takes, which is kept in the last of the lock's stores."""
    spec = target.stores[-1]
    if isinstance(spec, DynamoDBSpec):
        with closing(DynamoDBStore(spec)) as table:
            return _tried(table.attempts_on(spec.lock_id + QUEUE_SUFFIX), "GetItem", "PutItem")
    assert isinstance(spec, S3Spec)
    with closing(S3Store(spec)) as bucket:
        return _tried(bucket.attempts_on(beside_lock(spec.key, QUEUE_SUFFIX)), "GetObject", "PutObject")


def try_copy(state: S3State) -> Tried:
    """Try to write a copy of a state that Terraform could not save."""
    with closing(S3Store(state)) as bucket:
        return _tried(bucket.attempts_on(f"{state.key}{COPY_MARK}tfguard-probe"), "PutObject")


def try_listing(state: S3State) -> Tried:
    """Try to list the bucket."""
    with closing(S3Store(state)) as bucket:
        return _tried({"s3:ListBucket": lambda: bucket.list_keys(state.key, 1)})


def _tried(attempts: Attempts, *only: str) -> Tried:
    """Make every attempt, for the last one cleans up where a server ignores conditions, and tell of `only` these."""
    allowed, denied = [], []
    for action, attempt in attempts.items():
        try:
            attempt()
        except ActionDenied as error:
            denied.append(error)
        except Conflict:
            allowed.append(action)
        else:
            allowed.append(action)
    return Tried(
        tuple(action for action in allowed if _is_among(action, only)),
        tuple(error for error in denied if _is_among(error.action, only)),
    )


def _is_among(action: str, only: tuple[str, ...]) -> bool:
    return not only or action.partition(":")[2] in only
