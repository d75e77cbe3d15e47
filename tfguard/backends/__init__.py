"""
Where a state's lock lives and how to reach it: one folder a cloud, one row here.

None is imported before it is needed: botocore alone takes longer than a local lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfguard.backends.aws.attributes import Attributes
from tfguard.backends.aws.locate import s3_lock
from tfguard.backends.aws.spec import S3Spec
from tfguard.backends.local import local_lock
from tfguard.backends.target import LocalSpec, PlannedBackend, StoreSpec, Target, Unlockable
from tfguard.lock.store import Store
from tfguard.text import printable

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


#: Why no store of ours can hold the lock of these backends while Terraform runs.
_WHY_NOT = {
    "azurerm": "without it Terraform cannot write",
    "cloud": "HCP Terraform keeps it",
    "remote": "HCP Terraform keeps it",
    "http": "only the server knows what it is",
}


def locate(
    backend: PlannedBackend, directory: Path, workspace: str, environ: Mapping[str, str], *, source: str
) -> Target | Unlockable:
    """
    Find the lock that Terraform would take in `directory` with this backend. `source` names, for messages, what
    says so: a plan, or the directory's cache.

    Raises:
        ConfigError: An attribute is not what Terraform would have written.
    """
    settings = Attributes(backend.config, source)
    if backend.type == "s3":
        return s3_lock(settings, workspace, environ)
    if backend.type == "local":
        return local_lock(settings, directory, workspace)
    kind = printable(backend.type, 20)
    why = _WHY_NOT.get(backend.type, "it has no store for it")
    return Unlockable(
        f"tfguard cannot hold the lock of the {kind} backend: {why}.\n"
        "To guard this state, set in tfguard.yml: lock: {mode: named, name: …, store: …}",
        needs_lock=True,
    )
