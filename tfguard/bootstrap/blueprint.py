"""
What a state's backend needs, as a plan: a bucket, a table if it names one, and how they are to be.

`tfguard bootstrap` builds it, or prints it: see `as_terraform` and `iam`. Nothing is asked over the network here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.attributes import endpoint
from tfguard.backends.aws.locate import DEFAULT_PREFIX, lock_object, state_key
from tfguard.backends.aws.spec import DynamoDBSpec, S3State
from tfguard.bootstrap.nothing import nothing_to_make
from tfguard.errors import ConfigError
from tfguard.text import printable

#: Old versions of an object are kept for so many days, and the newest of them for good: a state that seldom changes
#: keeps its last ones. They have to end at some time, since each heartbeat on a `.tflock` object makes one.
OLD_VERSIONS_DAYS = 90
OLD_VERSIONS_KEPT = 20
#: The parts of an upload that was never finished are kept for so many days.
UNFINISHED_UPLOAD_DAYS = 7
LIFECYCLE_ID = "old-versions"

#: The type of backend that all this is about.
KIND = "s3"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("us-isob-", "aws-iso-b"), ("us-iso-", "aws-iso"))


@dataclass(frozen=True)
class Blueprint:
    """
    What is to be there. `state` is the state's own object: its bucket, its key (empty where the backend names none).

    `table` is None where the backend names none. `has_lock_object`: it locks by a `.tflock` object, perhaps as well.
    """

    state: S3State
    table: DynamoDBSpec | None
    has_lock_object: bool

    @property
    def label(self) -> str:
        """What people call the state."""
        return printable(f"{self.state.bucket}/{self.state.key}", 80)

    @property
    def region(self) -> str:
        """The backend's region, empty where only the AWS configuration knows it."""
        return self.state.aws.region

    @property
    def partition(self) -> str:
        """The part of AWS that the region is in; ARNs begin with it."""
        return next((name for start, name in _PARTITIONS if self.region.startswith(start)), "aws")

    @property
    def encryption(self) -> str:
        """How the bucket is to encrypt: with the backend's own key if it names one."""
        return "aws:kms" if self.state.kms_key_id else "AES256"

    @property
    def speaks_tls(self) -> bool:
        """Whether the bucket is reached over TLS: AWS's always, an emulator's seldom."""
        return not self.state.endpoint.startswith("http://")

    def tls_only_policy(self) -> dict[str, Any]:
        """The bucket's policy: who comes without TLS is refused."""
        arn = f"arn:{self.partition}:s3:::{self.state.bucket}"
        statement = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}


def draw(config: Mapping[str, Any], directory: Path, workspace: str, environ: Mapping[str, str]) -> Blueprint:
    """
    Plan for the configuration of an s3 backend.

    Raises:
        ConfigError: It names no bucket, or has an attribute of a type that Terraform would refuse.
    """
    settings = Attributes(config, "the backend", "Correct it in the backend block, or in `backend_config`.")
    bucket, key = settings.text("bucket"), settings.text("key")
    if not bucket:
        raise ConfigError("The backend names no bucket.\nName it as you would to init: --backend-config bucket=NAME")
    prefix = settings.text("workspace_key_prefix") if settings.is_given("workspace_key_prefix") else DEFAULT_PREFIX
    object_key = state_key(key, prefix, workspace) if key else ""
    state = lock_object(settings, directory, object_key, environ).state(object_key)
    name = settings.text("dynamodb_table")
    table = DynamoDBSpec(
        table=name,
        lock_id=f"{bucket}/{object_key}",
        aws=state.aws,
        endpoint=endpoint(settings, "dynamodb", environ),
    )
    return Blueprint(state, table if name else None, has_lock_object=bool(settings.flag("use_lockfile")))


def wrong_backend(kind: str) -> str:
    """Say that there is nothing that could be created for this type of backend."""
    return nothing_to_make(kind) or (
        f"The backend is {printable(kind, 20)}, and bootstrap creates what an s3 backend needs.\n"
        'First write terraform { backend "s3" { … } }, with its bucket and key.'
    )


def check_bucket_name(name: str) -> None:
    """
    Make sure that a bucket of this name can be created.

    Raises:
        ConfigError: It cannot, and why.
    """
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"No bucket can be called {printable(name, 70)!r}.\n"
            "S3 wants 3 to 63 of a-z, 0-9, hyphens and dots, a letter or digit first and last: correct `bucket`."
        )


def check_table_name(name: str) -> None:
    """As `check_bucket_name`, for a table."""
    if not _TABLE.fullmatch(name):
        raise ConfigError(
            f"No table can be called {printable(name, 70)!r}.\n"
            "DynamoDB wants 3 to 255 of A-Z, a-z, 0-9, hyphens, dots and underscores: correct `dynamodb_table`."
        )
