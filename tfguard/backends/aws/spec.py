"""Where a lock and its state lie on AWS, and as whom they are reached: plain data that crosses the socket."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from tfguard.backends.aws.keys import AssumeRole
from tfguard.backends.spec import Probe, SharingSpec, StateSpec, StoredDigest
from tfguard.lock.names import COPY_MARK, DIGEST_SUFFIX, beside_lock, probe_suffix
from tfguard.lock.store import Store
from tfguard.wire import pack

if TYPE_CHECKING:
    from datetime import datetime

    from tfguard.backends import spec
    from tfguard.backends.aws.credentials import Credentials


class AwsAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach AWS for this backend: what its configuration says, the rest from the environment.

    Empty means unset: the environment of the process, then its profile, are asked. Holds secrets: never logged.
    """

    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    token: str = ""
    profile: str = ""
    shared_config_files: tuple[str, ...] = ()
    shared_credentials_files: tuple[str, ...] = ()
    assume_role: tuple[AssumeRole, ...] = ()
    assume_role_with_web_identity: AssumeRole | None = None
    sts_endpoint: str = ""
    sts_region: str = ""
    sso_endpoint: str = ""
    use_fips: bool = False
    use_dualstack: bool = False
    ca_bundle: str = ""
    insecure: bool = False
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    metadata_endpoint: str = ""
    metadata_endpoint_mode: str = ""
    skip_metadata_api_check: bool | None = None

    def __repr__(self) -> str:
        return "AwsAccess(…)"

    def key(self, environ: Mapping[str, str]) -> str:
        """Return what decides which credentials are found: this, and what AWS's own variables say."""
        variables = sorted(f"{name}={value}" for name, value in environ.items() if "AWS" in name)
        return "\n".join((pack(self).decode(), *variables))

    def resolve(self) -> Credentials:
        """Return credentials that stores of this access may share; the first that needs them resolves them."""
        from tfguard.backends.aws.credentials import Credentials

        return Credentials(self)

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.access_key, self.secret_key, self.token]

    def bare(self) -> AwsAccess:
        """Return the access as it may stand in a file."""
        web = self.assume_role_with_web_identity
        return msgspec.structs.replace(
            self,
            access_key="",
            secret_key="",
            token="",
            http_proxy=_bare_url(self.http_proxy),
            https_proxy=_bare_url(self.https_proxy),
            sts_endpoint=_bare_url(self.sts_endpoint),
            sso_endpoint=_bare_url(self.sso_endpoint),
            assume_role_with_web_identity=msgspec.structs.replace(web, web_identity_token="") if web else None,
        )


class DynamoDBSpec(SharingSpec, frozen=True, kw_only=True, omit_defaults=True, tag="dynamodb"):
    """A lock item in a table with the string hash key `LockID`. `lock_id` is that key's value."""

    backend: ClassVar[str] = "s3"
    keeps_digest: ClassVar[bool] = True

    table: str
    lock_id: str
    aws: AwsAccess
    endpoint: str = ""

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.aws.dynamodb import DynamoDBStore

        return DynamoDBStore(self, cast("Credentials | None", credentials))

    @property
    def access(self) -> AwsAccess:
        return self.aws

    def bare(self) -> DynamoDBSpec:
        return msgspec.structs.replace(self, aws=self.aws.bare(), endpoint=_bare_url(self.endpoint))

    def scratch(self) -> DynamoDBSpec:
        return msgspec.structs.replace(self, lock_id=self.lock_id + probe_suffix())

    def read_digest(self) -> StoredDigest | None:
        from tfguard.backends.aws.dynamodb import DynamoDBStore

        with closing(DynamoDBStore(self)) as table:
            md5 = table.read_digest()
        return StoredDigest(table=self.table, item=self.lock_id + DIGEST_SUFFIX, md5=md5) if md5 else None

    def replace_digest(self, seen: str, digest: str) -> None:
        from tfguard.backends.aws.dynamodb import DynamoDBStore

        with closing(DynamoDBStore(self)) as table:
            table.replace_digest(seen, digest)


class S3Object(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object in a bucket, and how it is written: a lock, or a state."""

    bucket: str
    key: str
    aws: AwsAccess
    endpoint: str = ""
    use_path_style: bool = False
    encrypt: bool = False
    kms_key_id: str = ""
    sse_customer_key: str = ""
    acl: str = ""
    skip_checksum: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bucket={self.bucket!r}, key={self.key!r}, …)"


class S3Spec(S3Object, SharingSpec, frozen=True, kw_only=True, omit_defaults=True, tag="s3"):
    """A `.tflock` object. `key` is the lock object's own key, suffix included."""

    backend: ClassVar[str] = "s3"
    beats_are_objects: ClassVar[bool] = True

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.aws.s3 import S3Store

        return S3Store(self, cast("Credentials | None", credentials))

    @property
    def access(self) -> AwsAccess:
        return self.aws

    def secrets(self) -> list[str]:
        return [*super().secrets(), self.sse_customer_key]

    def bare(self) -> S3Spec:
        return msgspec.structs.replace(
            self, aws=self.aws.bare(), endpoint=_bare_url(self.endpoint), sse_customer_key=""
        )

    def scratch(self) -> S3Spec:
        return msgspec.structs.replace(self, key=beside_lock(self.key, probe_suffix()))

    def copies(self) -> S3State:
        return self.state(beside_lock(self.key, ""))

    def state(self, key: str) -> S3State:
        """Return the state that is the object `key` of the same bucket, reached and written in the same way."""
        fields = {name: getattr(self, name) for name in S3Object.__struct_fields__}
        return S3State(**{**fields, "key": key})


class S3State(S3Object, StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="s3"):
    """A state's own object. Copies stand beside it, encrypted as it is."""

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def read(self, max_bytes: int) -> bytes | None:
        from tfguard.backends.aws.s3 import S3Store

        with closing(S3Store(self)) as bucket:
            return bucket.read_body(self.key, max_bytes)

    def keep_copy(self, path: str, lock_id: str) -> str:
        with open(path, "rb") as file:
            body = file.read()
        from tfguard.backends.aws.s3 import S3Store

        key = f"{self.key}{COPY_MARK}{lock_id}"
        with closing(S3Store(self)) as bucket:
            bucket.write_body(key, body)
        return f"s3://{self.bucket}/{key}"

    def find_copies(self) -> list[str]:
        from tfguard.backends.aws.s3 import S3Store

        with closing(S3Store(self)) as bucket:
            keys = bucket.list_keys(f"{self.key}{COPY_MARK}")
        return [f"s3://{self.bucket}/{key}" for key in keys]

    def has_copy(self, place: str) -> bool:
        from tfguard.backends.aws.s3 import S3Store

        prefix = f"s3://{self.bucket}/"
        with closing(S3Store(self)) as bucket:
            return not place.startswith(prefix) or bucket.read_body(place.removeprefix(prefix), 1) is not None

    def server_date(self) -> datetime | None:
        from tfguard.backends.aws.facts import bucket_client, bucket_region

        with bucket_client(self) as client:
            bucket_region(client, self.bucket)
            return client.date


class WorkspaceProbe(Probe, frozen=True, kw_only=True, omit_defaults=True, tag="s3"):
    """
    How to ask whether a non-default workspace exists, as Terraform's S3 backend does: list `prefix` in `bucket`.

    Where it does not exist, Terraform creates it under an implicit lock of its own that ignores `-lock=false` and
    would collide with ours, so it has to exist first. `state_key` is the workspace's own state object.
    """

    bucket: str
    prefix: str
    state_key: str
    aws: AwsAccess
    endpoint: str = ""
    use_path_style: bool = False

    def exists(self) -> bool:
        from tfguard.backends.aws.s3 import workspace_exists

        return workspace_exists(self)


def _bare_url(url: str) -> str:
    """A URL with a password in it is left out whole."""
    return "" if "@" in url else url
