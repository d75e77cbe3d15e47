"""From the gcs backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec, GcsState, StateProbe
from tfguard.backends.target import Target
from tfguard.lock.names import LOCK_SUFFIX
from tfguard.text import printable

_STATE_SUFFIX = ".tfstate"


def object_name(prefix: str, workspace: str, suffix: str) -> str:
    """Return the name of what belongs to a workspace, joined and cleaned as Go's path.Join does."""
    joined = posixpath.normpath(f"{prefix.lstrip('/')}/{workspace}{suffix}".lstrip("/"))
    return joined[1:] if joined.startswith("//") else joined


def gcs_lock(settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target:
    """Find the lock of a workspace."""
    bucket, prefix = settings.required("bucket"), settings.text("prefix")
    access = gcs_access(settings, directory, environ)
    key = object_name(prefix, workspace, LOCK_SUFFIX)
    encryption_key = settings.text("encryption_key") or environ.get("GOOGLE_ENCRYPTION_KEY", "")
    state = GcsState(
        bucket=bucket,
        key=object_name(prefix, workspace, _STATE_SUFFIX),
        gcs=access,
        encryption_key=_found(directory, encryption_key),
        kms_key=settings.text("kms_encryption_key") or environ.get("GOOGLE_KMS_ENCRYPTION_KEY", ""),
    )
    return Target(
        label=printable(f"{bucket}/{state.key}"),
        path=f"gs://{bucket}/{key}",
        backend="gcs",
        workspace=workspace,
        stores=(GcsSpec(bucket=bucket, key=key, gcs=access),),
        probe=StateProbe(workspace=workspace, state=state),
        state=state,
    )


def gcs_access(settings: Attributes, directory: Path, environ: Mapping[str, str]) -> GcsAccess:
    """Say how Google is reached, in Terraform's order: the backend, then its variables. Their names are Terraform's."""

    def said(name: str, *variables: str) -> str:
        return settings.text(name) or next(filter(None, map(environ.get, variables)), "")

    token = said("access_token", "GOOGLE_OAUTH_ACCESS_TOKEN")
    credentials = said("credentials", "GOOGLE_BACKEND_CREDENTIALS", "GOOGLE_CREDENTIALS")
    return GcsAccess(
        access_token=token,
        # With a token Terraform reads no others.
        credentials="" if token else _found(directory, credentials),
        impersonate=said(
            "impersonate_service_account",
            "GOOGLE_BACKEND_IMPERSONATE_SERVICE_ACCOUNT",
            "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
        ),
        delegates=settings.texts("impersonate_service_account_delegates"),
        endpoint=said(
            "storage_custom_endpoint",
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT",
            "GOOGLE_STORAGE_CUSTOM_ENDPOINT",
        )
        or emulator(environ),
    )


def emulator(environ: Mapping[str, str]) -> str:
    """Return the endpoint that Google's own Go library takes from STORAGE_EMULATOR_HOST; empty where there is none."""
    host = environ.get("STORAGE_EMULATOR_HOST", "")
    if not host:
        return ""
    scheme, _, rest = host.rpartition("://")
    return f"{scheme or 'http'}://{rest.partition('/')[0]}/storage/v1/"


def _found(directory: Path, text: str) -> str:
    """A path counts from where Terraform runs; what names no file is the thing itself."""
    path = os.path.join(directory, os.path.expanduser(text)) if text else ""
    return path if path and "\n" not in text and "{" not in text and os.path.exists(path) else text
