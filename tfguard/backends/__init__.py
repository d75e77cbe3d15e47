"""The stores, one file each. None is imported before it is needed: botocore alone takes longer than a local lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfguard.lock.store import LocalSpec, S3Spec, Store, StoreSpec

if TYPE_CHECKING:
    from tfguard.backends.aws.credentials import Credentials


def open_store(spec: StoreSpec, access: Credentials | None = None) -> Store:
    """
    Open one lock's store. Nothing is asked of it yet, but credentials are resolved.

    `access` lets several stores of the same `AwsAccess` share one set of credentials; its owner closes it. Without it
    the store resolves its own and closes them with itself.

    Raises:
        StoreDenied: No credentials.

        StoreMisconfigured: No region, no such profile, an impossible name.
    """
    if isinstance(spec, LocalSpec):
        from tfguard.backends.local import LocalStore

        return LocalStore(spec)
    if isinstance(spec, S3Spec):
        from tfguard.backends.aws.s3 import S3Store

        return S3Store(spec, access)
    from tfguard.backends.aws.dynamodb import DynamoDBStore

    return DynamoDBStore(spec, access)
