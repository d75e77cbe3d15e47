"""What is locked: a state, the stores that hold its lock, and the backend that a plan or a directory names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import msgspec

from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec, WorkspaceProbe


@dataclass(frozen=True)
class PlannedBackend:
    """The backend a plan was made with, and the workspace selected then. `config` may hold secrets."""

    type: str
    config: Mapping[str, Any] = field(repr=False)
    workspace: str


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="local"):
    """A lock that the kernel keeps on a local file. `path` is the state file, absolute."""

    path: str


StoreSpec = Union[DynamoDBSpec, S3Spec, LocalSpec]


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One lock to take: its `label` for people, its `path` (LockInfo.Path), the stores that hold it together.

    With two stores (`.tflock`, then DynamoDB) both are taken, in that order, with the same lock ID. `state` is the
    state's own object, where it is in S3.
    """

    label: str
    path: str
    backend: str
    workspace: str
    stores: tuple[StoreSpec, ...]
    probe: WorkspaceProbe | None = None
    state: S3Spec | None = None


@dataclass(frozen=True)
class Unlockable:
    """
    There is no lock here that tfguard could hold. Terraform may run untouched, unless `needs_lock`.

    `reason` is for people: what is so, and where there is something to do, that on further lines. `needs_lock`: there
    is a state to guard, and running without our lock would break the promise that the user relies on.
    """

    reason: str
    needs_lock: bool = False


def without_secrets(target: Target) -> tuple[Target, bool]:
    """Give the target as it may stand in a file, and whether something had to be left out."""
    stores = tuple(_bare_spec(spec) for spec in target.stores)
    bare = msgspec.structs.replace(target, stores=stores, probe=None, state=None)
    return bare, stores != target.stores


def _bare_spec(spec: StoreSpec) -> StoreSpec:
    if isinstance(spec, S3Spec):
        return msgspec.structs.replace(
            spec, aws=_bare_access(spec.aws), endpoint=_bare_url(spec.endpoint), sse_customer_key=""
        )
    if isinstance(spec, DynamoDBSpec):
        return msgspec.structs.replace(spec, aws=_bare_access(spec.aws), endpoint=_bare_url(spec.endpoint))
    return spec


def _bare_access(access: AwsAccess) -> AwsAccess:
    web = access.assume_role_with_web_identity
    return msgspec.structs.replace(
        access,
        access_key="",
        secret_key="",
        token="",
        http_proxy=_bare_url(access.http_proxy),
        https_proxy=_bare_url(access.https_proxy),
        sts_endpoint=_bare_url(access.sts_endpoint),
        assume_role_with_web_identity=msgspec.structs.replace(web, web_identity_token="") if web else None,
    )


def _bare_url(url: str) -> str:
    """A URL with a password in it is left out whole."""
    return "" if "@" in url else url
