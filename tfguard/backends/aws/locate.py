"""From the s3 backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.attributes import aws_access, endpoint
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec, WorkspaceProbe
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.lock.names import LOCK_SUFFIX
from tfguard.text import printable

#: Where the states of workspaces stand unless the backend says otherwise.
DEFAULT_PREFIX = "env:"


def state_key(key: str, prefix: str, workspace: str) -> str:
    """Return the key of a workspace's state, joined and cleaned as Go's path.Join does."""
    if workspace == "default":
        return key
    joined = posixpath.normpath("/".join(part for part in (prefix, workspace, key) if part))
    return joined[1:] if joined.startswith("//") else joined


def _listed_key(key: str, prefix: str, workspace: str) -> str:
    """
    Return the key by which Terraform knows a workspace when it lists them: under the prefix with a slash, as written.

    It stores the state under the cleaned path, so where the two differ, it takes the workspace for missing.
    """
    return f"{prefix}/{workspace}/{key}" if prefix else f"{workspace}/{key}"


def s3_lock(settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock, or the two, that the backend's attributes ask for."""
    bucket, key = settings.required("bucket"), settings.required("key")
    table, use_lockfile = settings.text("dynamodb_table"), settings.flag("use_lockfile")
    if not table and not use_lockfile:
        return Unlockable(
            "the s3 backend has no lock configured, so nobody can be kept out.\n"
            "Set use_lockfile = true in its backend block and run: tfguard init -reconfigure\n"
            "To run without a lock nevertheless: -lock=false",
            needs_lock=True,
        )
    prefix = settings.text("workspace_key_prefix") if settings.is_given("workspace_key_prefix") else DEFAULT_PREFIX
    object_key = state_key(key, prefix, workspace)
    if workspace != "default" and object_key != _listed_key(key, prefix, workspace):
        return Unlockable(
            f"the s3 backend never finds workspace {printable(workspace, 40)} again: it cleans the path of the state.\n"
            "Terraform then takes a lock of its own each time, which collides with ours.\n"
            f"Write workspace_key_prefix, workspace and key so that {printable(object_key, 60)} is all of it.",
            needs_lock=True,
        )
    tflock = lock_object(settings, directory, object_key, environ)
    stores: list[StoreSpec] = []
    if use_lockfile:
        stores.append(tflock)
    if table:
        dynamodb = endpoint(settings, "dynamodb", environ)
        lock_id = f"{bucket}/{object_key}"
        stores.append(DynamoDBSpec(table=table, lock_id=lock_id, aws=tflock.aws, endpoint=dynamodb))
    probe = WorkspaceProbe(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        state_key=object_key,
        workspace=workspace,
        aws=tflock.aws,
        endpoint=tflock.endpoint,
        use_path_style=tflock.use_path_style,
    )
    path = f"{bucket}/{object_key}"
    return Target(
        label=printable(path),
        path=path,
        backend="s3",
        workspace=workspace,
        stores=tuple(stores),
        # Terraform takes the default workspace for existing, always.
        probe=None if workspace == "default" else probe,
        state=tflock.state(object_key),
    )


def lock_object(settings: Attributes, directory: Path, object_key: str, environ: Mapping[str, str]) -> S3Spec:
    """Describe the `.tflock` object of a state, and with it how to reach its bucket."""
    path_style = settings.flag("use_path_style")
    return S3Spec(
        bucket=settings.required("bucket"),
        key=object_key + LOCK_SUFFIX,
        aws=aws_access(settings, environ, directory),
        endpoint=endpoint(settings, "s3", environ),
        use_path_style=bool(settings.flag("force_path_style") if path_style is None else path_style),
        encrypt=settings.flag("encrypt") or False,
        kms_key_id=settings.text("kms_key_id"),
        sse_customer_key=settings.text("sse_customer_key") or environ.get("AWS_SSE_CUSTOMER_KEY", ""),
        acl=settings.text("acl"),
        skip_checksum=settings.flag("skip_s3_checksum") or False,
    )
