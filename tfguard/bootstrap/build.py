"""
Building a bucket and a table as a blueprint has them, so that it can be interrupted anywhere and gone on with.

What is begun carries a tag until it is finished: only by that may a later `tfguard bootstrap` touch what is there
already. Each step says all of what it sets, so that doing it twice is doing it once; an answer that was lost is asked
for again, and "it is there already" is then success.

Not promised: between a bucket's creation and its tag lies one request. Who is killed just there leaves an empty bucket,
which the next bootstrap takes for somebody's own: it says what to set, or it can be deleted.

Needs `s3:CreateBucket` and `s3:Put…` for each setting, `dynamodb:CreateTable` and its likes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import tenacity

from tfguard.backends.aws.answers import code_of
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.facts import (
    FIRST_REGION,
    LOCK_KEY,
    PUBLIC_ACCESS_SWITCHES,
    UNFINISHED,
    describe_table,
    is_unknown_action,
    key_of,
)
from tfguard.bootstrap.blueprint import (
    LIFECYCLE_ID,
    OLD_VERSIONS_DAYS,
    OLD_VERSIONS_KEPT,
    UNFINISHED_UPLOAD_DAYS,
    Blueprint,
)
from tfguard.errors import ConfigError, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable

#: A step is tried so often while AWS gives no usable answer.
TRIES = 6
#: And so often while AWS has not heard yet of what was just created: a minute, about.
PATIENT_TRIES = 25
#: How long a new table may take until it can be used, in seconds; usually it takes ten.
TABLE_SECONDS = 180.0
_LOOK_SECONDS = 2.0

#: What AWS says of things that were created or changed a moment ago.
_NOT_YET = {
    "NoSuchBucket",
    "ResourceNotFoundException",
    "ResourceInUseException",
    "ContinuousBackupsUnavailableException",
}

Pause = Callable[[float], None]
#: One request: botocore's method, and its parameters.
Step = tuple[str, dict[str, Any]]


def speaks_tls(client: Client) -> bool:
    """Whether requests go over TLS: to AWS always, to an emulator seldom. A bucket that wants TLS would shut it out."""
    return client.endpoint.startswith("https:")


def build_bucket(client: Client, plan: Blueprint, *, is_begun: bool = False, pause: Pause = time.sleep) -> list[str]:
    """
    Create the bucket, unless that `is_begun`, and set it up.

    Gives the steps that this server, not being AWS's, does not know.

    Raises:
        ConfigError: The name is taken by another account.

        StoreUnavailable, StoreDenied, StoreMisconfigured: As AWS says; what was begun can be gone on with.
    """
    name = plan.state.bucket
    place = f"S3 bucket {name}"
    if not is_begun:
        _create_bucket(client, name, place, pause)
    steps = [(method, {"Bucket": name, **parameters}) for method, parameters in _settings(client, plan)]
    return [step[0] for step in steps if not _do(client, place, step, pause)]


def _create_bucket(client: Client, name: str, place: str, pause: Pause) -> None:
    try:
        _do(client, place, ("create_bucket", _creation(name, client.region)), pause, done="BucketAlreadyOwnedByYou")
    except StoreMisconfigured as error:
        if code_of(error) != "BucketAlreadyExists":
            raise
        raise ConfigError(
            f"Bucket {printable(name, 63)} belongs to another account: each name is given once in all of AWS.\n"
            "Choose another `bucket` in the backend."
        ) from error


def _creation(name: str, region: str) -> dict[str, Any]:
    # The first region is not to be named: S3 takes its name for none.
    place = {} if region == FIRST_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    return {"Bucket": name, **place}


def _settings(client: Client, plan: Blueprint) -> Iterator[Step]:
    """What to set, the mark first and its removal last; closed to the public before anything else."""
    yield "put_bucket_tagging", {"Tagging": {"TagSet": [_tag()]}}
    closed = dict.fromkeys(PUBLIC_ACCESS_SWITCHES, True)
    yield "put_public_access_block", {"PublicAccessBlockConfiguration": closed}
    if speaks_tls(client):
        yield "put_bucket_policy", {"Policy": json.dumps(plan.tls_only_policy())}
    yield "put_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": [_encryption(plan)]}}
    yield "put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}
    yield "put_bucket_lifecycle_configuration", {"LifecycleConfiguration": {"Rules": [_lifecycle()]}}
    yield "delete_bucket_tagging", {}


def _tag() -> dict[str, str]:
    return dict(zip(("Key", "Value"), UNFINISHED))


def _encryption(plan: Blueprint) -> dict[str, Any]:
    if plan.encryption == "AES256":
        return {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": plan.state.kms_key_id}
    return {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}


def _lifecycle() -> dict[str, Any]:
    return {
        "ID": LIFECYCLE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {
            "NoncurrentDays": OLD_VERSIONS_DAYS,
            "NewerNoncurrentVersions": OLD_VERSIONS_KEPT,
        },
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_UPLOAD_DAYS},
    }


def build_table(client: Client, name: str, pause: Pause = time.sleep) -> list[str]:
    """
    Create the table, wait until it can be used, and set it up.

    Gives the steps that this server, not being AWS's, does not know.

    Raises:
        ConfigError: Somebody else has created a table of that name meanwhile, with another key.

        StoreUnavailable: It is not there in time, or AWS does not answer; what was begun can be gone on with.

        StoreDenied, StoreMisconfigured: As AWS says.
    """
    place = f"DynamoDB table {name}"
    _do(client, place, ("create_table", _table(name)), pause, done="ResourceInUseException")
    arn = _wait_until_active(client, name, pause)
    recovery = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
    steps: list[Step] = [
        ("update_continuous_backups", {"TableName": name, **recovery}),
        ("untag_resource", {"ResourceArn": arn, "TagKeys": [UNFINISHED[0]]}),
    ]
    return [step[0] for step in steps if not _do(client, place, step, pause)]


def _table(name: str) -> dict[str, Any]:
    return {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": kind} for key, kind, _ in LOCK_KEY],
        "KeySchema": [{"AttributeName": key, "KeyType": role} for key, _, role in LOCK_KEY],
        "BillingMode": "PAY_PER_REQUEST",
        "SSESpecification": {"Enabled": True, "SSEType": "KMS"},
        "DeletionProtectionEnabled": True,
        "Tags": [_tag()],
    }


def _wait_until_active(client: Client, name: str, pause: Pause) -> str:
    """Return the table's ARN once it is ready."""
    status = ""
    for _ in range(int(TABLE_SECONDS / _LOOK_SECONDS)):
        found = describe_table(client, name)
        if found is not None and key_of(found) != LOCK_KEY:
            raise ConfigError(f"Somebody has created a table {name} meanwhile, with another key.\nLook at it.")
        status = found["TableStatus"] if found is not None else "not there"
        if found is not None and status == "ACTIVE":
            return str(found["TableArn"])
        pause(_LOOK_SECONDS)
    raise StoreUnavailable(f"DynamoDB table {name} is still {status} after {TABLE_SECONDS:.0f} s.\nRun this again.")


def _do(client: Client, place: str, step: Step, pause: Pause, *, done: str = "") -> bool:
    """Take one step, patiently; return whether the server knows it. `done` is AWS's code for "it is done already"."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: _may_pass(error, done)),
        stop=_is_enough,
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
        sleep=pause,
        reraise=True,
    )
    method, parameters = step
    try:
        retrying(client.ask, method, place, parameters)
    except StoreMisconfigured as error:
        if done and code_of(error) == done:
            return True
        if is_unknown_action(error) and not client.is_aws:
            return False
        raise
    return True


def _is_enough(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return state.attempt_number >= (PATIENT_TRIES if isinstance(error, StoreMisconfigured) else TRIES)


def _may_pass(error: BaseException, done: str) -> bool:
    if isinstance(error, StoreMisconfigured):
        return code_of(error) in _NOT_YET - {done}
    return isinstance(error, StoreUnavailable)
