"""
What a lock's table and bucket are like, as AWS describes them: for those who look before they build, or at what is.

Needs what no run needs: `dynamodb:DescribeTable` and its likes, `s3:GetBucketVersioning` and its likes. Where one
setting may not be read, the others still are: its place in the facts says why it is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tfguard.backends.aws.answers import code_of
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.credentials import Credentials
from tfguard.errors import ActionDenied, StoreMisconfigured

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import DynamoDBSpec, S3Object

Value = TypeVar("Value")

#: A tag on what `tfguard bootstrap` has begun to build and has not finished.
UNFINISHED = ("tfguard", "unfinished")
#: S3's way to say that a setting was never made.
_UNSET = {
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchTagSet",
}
#: What a new table says of its own parts.
_TOO_EARLY = {"TableNotFoundException", "ResourceNotFoundException"}
#: A server that is not AWS, and does not have this.
_UNKNOWN_ACTION = {"UnknownOperationException", "NotImplemented", "501", "MethodNotAllowed", "InvalidAction"}
#: Of a bucket in it, S3 says no location at all.
FIRST_REGION = "us-east-1"
#: The key schema that Terraform's locks need, as `TableFacts.key` has it.
LOCK_KEY = (("LockID", "S", "HASH"),)
#: What closes a bucket to the public, all of them on.
PUBLIC_ACCESS_SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Unknown:
    """A setting that could not be read; `reason` is for people, and names a permission that is missing."""

    reason: str


@dataclass(frozen=True)
class TableFacts:
    """
    A DynamoDB table. `key` is its key schema as (name, type, role): Terraform needs `("LockID", "S", "HASH")` alone.

    `encryption` is `KMS` with a key in the account, else empty: AWS then encrypts with a key of its own. `replicas`
    are the other regions of a global table: there the last writer wins, unless `is_strongly_consistent`.
    """

    name: str
    arn: str
    status: str
    key: tuple[tuple[str, str, str], ...]
    is_on_demand: bool
    encryption: str
    has_deletion_protection: bool
    replicas: tuple[str, ...]
    has_point_in_time_recovery: bool | Unknown
    is_unfinished: bool | Unknown
    is_strongly_consistent: bool = False


@dataclass(frozen=True)
class BucketFacts:
    """
    An S3 bucket. `region` is empty where a server that is not AWS's has none.

    `encryption` is `AES256` or `aws:kms`, empty where none is set (AWS then uses AES256). `forgets_old_versions`: a
    lifecycle rule for the whole bucket expires them.
    """

    name: str
    region: str
    is_versioned: bool | Unknown
    encryption: str | Unknown
    blocks_public_access: bool | Unknown
    is_tls_only: bool | Unknown
    forgets_old_versions: bool | Unknown
    is_unfinished: bool | Unknown


@contextmanager
def table_client(spec: DynamoDBSpec) -> Iterator[Client]:
    """Open a client for the table's service."""
    with closing(Credentials(spec.aws)) as access, closing(access.client("dynamodb", spec.endpoint)) as client:
        yield client


@contextmanager
def bucket_client(spec: S3Object) -> Iterator[Client]:
    """Open a client for the bucket's service."""
    with closing(Credentials(spec.aws)) as access, closing(access.s3_client(spec)) as client:
        yield client


def read_table(client: Client, name: str) -> TableFacts | None:
    """
    Describe a table; None where there is none in this region.

    Raises: StoreUnavailable, StoreDenied (of `dynamodb:DescribeTable` itself), StoreMisconfigured.
    """
    place = f"DynamoDB table {name}"
    found = describe_table(client, name)
    if found is None:
        return None

    def has_backups() -> bool:
        answer = client.ask("describe_continuous_backups", place, {"TableName": name})["ContinuousBackupsDescription"]
        return bool(answer.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED")

    def is_unfinished() -> bool:
        answer = client.ask("list_tags_of_resource", place, {"ResourceArn": found["TableArn"]})
        return UNFINISHED in _tags(answer.get("Tags", ()))

    return TableFacts(
        name=name,
        arn=str(found["TableArn"]),
        status=str(found.get("TableStatus", "")),
        key=key_of(found),
        is_on_demand=found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST",
        encryption=str(found.get("SSEDescription", {}).get("SSEType", "")),
        has_deletion_protection=bool(found.get("DeletionProtectionEnabled")),
        replicas=tuple(str(replica["RegionName"]) for replica in found.get("Replicas", ())),
        has_point_in_time_recovery=_or_unknown(has_backups),
        is_unfinished=_or_unknown(is_unfinished),
        is_strongly_consistent=found.get("MultiRegionConsistency") == "STRONG",
    )


def describe_table(client: Client, name: str) -> dict[str, Any] | None:
    """Return AWS's own description of a table, its status among it; None where there is none. Raises as above."""
    try:
        found: dict[str, Any] = client.ask("describe_table", f"DynamoDB table {name}", {"TableName": name})["Table"]
    except StoreMisconfigured as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise
    return found


def key_of(table: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Return the key schema of a description, as `TableFacts.key` has it."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions", ())}
    return tuple(
        (str(each["AttributeName"]), str(types.get(each["AttributeName"], "")), str(each["KeyType"]))
        for each in table.get("KeySchema", ())
    )


def read_bucket(client: Client, name: str) -> BucketFacts | None:
    """
    Describe a bucket, wherever it is; None where there is none.

    Raises: StoreUnavailable, StoreDenied (of `s3:GetBucketLocation` itself), StoreMisconfigured.
    """
    place = f"S3 bucket {name}"

    def get(method: str) -> dict[str, Any]:
        return client.ask(method, place, {"Bucket": name})

    try:
        location = get("get_bucket_location").get("LocationConstraint") or (FIRST_REGION if client.is_aws else "")
    except StoreMisconfigured as error:
        if code_of(error) == "NoSuchBucket":
            return None
        raise
    return BucketFacts(
        name=name,
        region="eu-west-1" if location == "EU" else str(location),
        is_versioned=_or_unknown(lambda: is_versioned(client, name)),
        encryption=_or_unknown(lambda: _encryption(get("get_bucket_encryption")), unset=""),
        blocks_public_access=_or_unknown(lambda: _blocks_all(get("get_public_access_block")), unset=False),
        is_tls_only=_or_unknown(
            lambda: refuses_plain_http(str(get("get_bucket_policy").get("Policy", ""))), unset=False
        ),
        forgets_old_versions=_or_unknown(lambda: _forgets(get("get_bucket_lifecycle_configuration")), unset=False),
        is_unfinished=_or_unknown(
            lambda: UNFINISHED in _tags(get("get_bucket_tagging").get("TagSet", ())), unset=False
        ),
    )


def bucket_region(client: Client, name: str) -> str:
    """
    Name the bucket's region, empty where the server does not tell. Needs `s3:ListBucket`, as Terraform does.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    answer = client.ask("head_bucket", f"S3 bucket {name}", {"Bucket": name})
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("x-amz-bucket-region", "")


def is_versioned(client: Client, name: str) -> bool:
    """Whether the bucket keeps old versions. Raises as above; few are allowed to ask."""
    answer = client.ask("get_bucket_versioning", f"S3 bucket {name}", {"Bucket": name})
    return bool(answer.get("Status") == "Enabled")


def _or_unknown(ask: Callable[[], Value], *, unset: Value | None = None) -> Value | Unknown:
    try:
        return ask()
    except ActionDenied as error:
        return Unknown(str(error).splitlines()[0])
    except StoreMisconfigured as error:
        if unset is not None and code_of(error) in _UNSET:
            return unset
        if is_unknown_action(error):
            return Unknown("this server does not tell")
        if code_of(error) in _TOO_EARLY:
            return Unknown("it is being created")
        raise


def is_unknown_action(error: StoreMisconfigured) -> bool:
    """Whether a server that is not AWS's has said that it does not know this action."""
    return code_of(error) in _UNKNOWN_ACTION


def _tags(tags: Any) -> set[tuple[str, str]]:
    return {(str(tag.get("Key")), str(tag.get("Value"))) for tag in tags}


def _encryption(answer: Mapping[str, Any]) -> str:
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    found = (rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules)
    return next(found, "")


def _blocks_all(answer: Mapping[str, Any]) -> bool:
    return all(answer.get("PublicAccessBlockConfiguration", {}).get(switch) for switch in PUBLIC_ACCESS_SWITCHES)


def refuses_plain_http(policy: str) -> bool:
    """Whether a bucket policy denies everything, to everybody, that does not come over TLS."""
    try:
        statements = json.loads(policy).get("Statement", [])
        return any(map(_is_tls_rule, statements if isinstance(statements, list) else [statements]))
    except (ValueError, AttributeError):
        return False


def _is_tls_rule(statement: Mapping[str, Any]) -> bool:
    condition = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return (
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        and statement.get("Action") in ("s3:*", "*", ["s3:*"], ["*"])
        and condition in ("false", False, ["false"])
    )


def _forgets(answer: Mapping[str, Any]) -> bool:
    return any(
        rule.get("Status") == "Enabled" and "NoncurrentVersionExpiration" in rule and _is_for_all(rule)
        for rule in answer.get("Rules", ())
    )


def _is_for_all(rule: Mapping[str, Any]) -> bool:
    return not rule.get("Prefix") and all(not value for value in rule.get("Filter", {}).values())
