"""Terraform's s3 backend, as `backends.Backend` asks for it: locks are in DynamoDB, in S3, or in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.locate import s3_lock
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.checks import Checks
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl
from tfguard.lock.names import LOCK_SUFFIX

if TYPE_CHECKING:
    from tfguard.backends.aws import credentials as aws_credentials

requires = ()
urls = {"dynamodb": "dynamodb://TABLE?region=…", "s3": "s3://BUCKET/PREFIX?region=…"}
fetch = "aws s3 cp"


def locate(
    attributes: Attributes,
    directory: Path,
    workspace: str,
    environ: Mapping[str, str],
) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return s3_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Take the item `name` in a table, or the object `prefix/name.tflock` in a bucket.

        dynamodb://table?region=eu-west-1&endpoint=…&profile=…
        s3://bucket/prefix?region=…&endpoint=…&profile=…&path_style=true
    """
    is_table = url.scheme == "dynamodb"
    options = url.options("region", "endpoint", "profile", *([] if is_table else ["path_style"]))
    if options.get("path_style", "true") not in {"true", "false"}:
        raise url.wrong(": path_style is true or false.")
    if not url.parts.netloc:
        raise url.wrong(f"names no {'table' if is_table else 'bucket'}.")
    access = AwsAccess(
        region=options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        profile=options.get("profile", ""),
    )
    endpoint = options.get("endpoint", "")
    if is_table:
        if url.parts.path.strip("/"):
            raise url.wrong(": a table has no path; the lock's name goes into `lock.name`.")
        return DynamoDBSpec(table=url.parts.netloc, lock_id=name, aws=access, endpoint=endpoint)
    prefix = unquote(url.parts.path).strip("/")
    return S3Spec(
        bucket=url.parts.netloc,
        key=(f"{prefix}/{name}" if prefix else name) + LOCK_SUFFIX,
        aws=access,
        endpoint=endpoint,
        use_path_style=options.get("path_style") == "true",
    )


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:
    """Return the locks in the same table or bucket, each by `<bucket>/<key>`, as `Backend.locks_beside` has it."""
    from tfguard.backends.aws.listing import locks_in_bucket, locks_in_table

    access = cast("aws_credentials.Credentials", credentials)
    if isinstance(spec, DynamoDBSpec):
        yield from locks_in_table(spec, access)
    elif isinstance(spec, S3Spec):
        yield from locks_in_bucket(spec, access)


def checks() -> Checks:
    """Return the checks of permissions, table and bucket."""
    from tfguard.backends.aws.checks import CHECKS

    return CHECKS
