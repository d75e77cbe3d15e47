"""Terraform's gcs backend, as `backends.Backend` asks for it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.gcs.locate import gcs_access, gcs_lock
from tfguard.backends.gcs.spec import GcsSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl
from tfguard.lock.names import LOCK_SUFFIX

if TYPE_CHECKING:
    from tfguard.backends.gcs import credentials as gcs_credentials

#: What the extra brings is needed by whoever has no access token: who needs it says so.
requires = ()
urls = {"gs": "gs://BUCKET/PREFIX"}
fetch = "gcloud storage cp"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return gcs_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Take the object `prefix/name.tflock` in a bucket; credentials come from the environment.

        gs://bucket/prefix?endpoint=…
    """
    options = url.options("endpoint")
    if not url.parts.netloc:
        raise url.wrong("names no bucket.")
    access = gcs_access(Attributes({"storage_custom_endpoint": options.get("endpoint")}, ""), Path(os.curdir), environ)
    prefix = unquote(url.parts.path).strip("/")
    return GcsSpec(bucket=url.parts.netloc, key=posixpath.join(prefix, name) + LOCK_SUFFIX, gcs=access)


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:
    """Return the locks in the same bucket, each by `<bucket>/<state>`, as `Backend.locks_beside` has it."""
    from tfguard.backends.gcs.client import client_of

    assert isinstance(spec, GcsSpec)
    with closing(client_of(spec, cast("gcs_credentials.Credentials | None", credentials))) as client:
        keys = [key for key in client.names("") if key.endswith(LOCK_SUFFIX)]
    for key in keys:
        yield f"{spec.bucket}/{key.removesuffix(LOCK_SUFFIX)}.tfstate", msgspec.structs.replace(spec, key=key)


def checks() -> Checks:
    """Return the checks of permissions and bucket."""
    from tfguard.backends.gcs.checks import CHECKS

    return CHECKS
