"""Where a lock lies on AWS, and as whom it is reached: plain data that crosses the socket to the keeper."""

from __future__ import annotations

import msgspec


class AssumeRole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Terraform's `assume_role` or `assume_role_with_web_identity`; durations in seconds."""

    role_arn: str
    session_name: str = ""
    duration: int = 0
    external_id: str = ""
    policy: str = ""
    policy_arns: tuple[str, ...] = ()
    source_identity: str = ""
    tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    web_identity_token: str = ""
    web_identity_token_file: str = ""

    def __repr__(self) -> str:
        return "AssumeRole(…)"


class AwsAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach AWS for this backend: what its configuration says, the rest from the environment.

    Empty means unset: botocore then resolves it from the environment of the process. Holds secrets: never logged.
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
    use_fips: bool = False
    use_dualstack: bool = False
    ca_bundle: str = ""
    insecure: bool = False
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    metadata_endpoint: str = ""
    metadata_endpoint_mode: str = ""
    skip_metadata_api_check: bool = False

    def __repr__(self) -> str:
        return "AwsAccess(…)"


class DynamoDBSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="dynamodb"):
    """A lock item in a table with the string hash key `LockID`. `lock_id` is that key's value."""

    table: str
    lock_id: str
    aws: AwsAccess
    endpoint: str = ""


class S3Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="s3"):
    """A `.tflock` object. `key` is the lock object's own key, suffix included."""

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
        return f"S3Spec(bucket={self.bucket!r}, key={self.key!r}, …)"


class WorkspaceProbe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How to ask whether a non-default workspace exists, as Terraform's S3 backend does: list `prefix` in `bucket`.

    Where it does not exist, Terraform creates it under an implicit lock of its own that ignores `-lock=false` and
    would collide with ours, so it has to exist first. `state_key` is the workspace's own state object.
    """

    bucket: str
    prefix: str
    state_key: str
    workspace: str
    aws: AwsAccess
    endpoint: str = ""
    use_path_style: bool = False
