"""
Every lock in a table, or under a bucket: for people who look around. A run never lists locks.

This needs what no run needs: `dynamodb:Scan`, `s3:ListBucket`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tfguard.store import DynamoDBSpec, S3Spec
from tfguard.stores.aws import Credentials
from tfguard.stores.s3 import LOCK_SUFFIX


def locks_beside(spec: DynamoDBSpec | S3Spec, access: Credentials) -> Iterator[tuple[str, DynamoDBSpec | S3Spec]]:
    """
    Give the locks that are held now where `spec` lives, each with its name: `<bucket>/<key>`.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    if isinstance(spec, DynamoDBSpec):
        for lock_id in sorted(_lock_ids(spec, access)):
            yield lock_id, msgspec.structs.replace(spec, lock_id=lock_id)
    else:
        for key in sorted(_lock_keys(spec, access)):
            name = f"{spec.bucket}/{key.removesuffix(LOCK_SUFFIX)}"
            yield name, msgspec.structs.replace(spec, key=key)


def is_versioned(spec: S3Spec) -> bool:
    """Whether the bucket keeps old versions. Raises as above; few are allowed to ask."""
    access = Credentials(spec.aws)
    client = access.client("s3", spec.endpoint, s3={"addressing_style": "path" if spec.use_path_style else "auto"})
    try:
        answer = client.ask("get_bucket_versioning", f"s3://{spec.bucket}", {"Bucket": spec.bucket})
    finally:
        client.close()
        access.close()
    return bool(answer.get("Status") == "Enabled")


def _lock_ids(spec: DynamoDBSpec, access: Credentials) -> Iterator[str]:
    client = access.client("dynamodb", spec.endpoint)
    question: dict[str, Any] = {
        "TableName": spec.table,
        "ConsistentRead": True,
        "ProjectionExpression": "LockID",
        "FilterExpression": "attribute_exists(Info)",
    }
    try:
        while True:
            answer = client.ask("scan", f"DynamoDB table {spec.table}", question)
            yield from (str(item["LockID"]["S"]) for item in answer.get("Items", ()))
            if not answer.get("LastEvaluatedKey"):
                return
            question["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    finally:
        client.close()


def _lock_keys(spec: S3Spec, access: Credentials) -> Iterator[str]:
    client = access.client("s3", spec.endpoint, s3={"addressing_style": "path" if spec.use_path_style else "auto"})
    question: dict[str, Any] = {"Bucket": spec.bucket}
    try:
        while True:
            answer = client.ask("list_objects_v2", f"s3://{spec.bucket}", question)
            yield from (entry["Key"] for entry in answer.get("Contents", ()) if entry["Key"].endswith(LOCK_SUFFIX))
            if not answer.get("IsTruncated"):
                return
            question["ContinuationToken"] = answer["NextContinuationToken"]
    finally:
        client.close()
