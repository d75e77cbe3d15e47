"""
Every lock in a table, or under a bucket: for people who look around. A run never lists locks.

This needs what no run needs: `dynamodb:Scan`, `s3:ListBucket`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec
from tfguard.lock.names import LOCK_SUFFIX


def locks_in_table(spec: DynamoDBSpec, access: Credentials) -> Iterator[tuple[str, DynamoDBSpec]]:
    """
    Return the locks that are held now in the table of `spec`, each with its name: `<bucket>/<key>`.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    for lock_id in sorted(_lock_ids(spec, access)):
        yield lock_id, msgspec.structs.replace(spec, lock_id=lock_id)


def locks_in_bucket(spec: S3Spec, access: Credentials) -> Iterator[tuple[str, S3Spec]]:
    """The same of the bucket."""
    for key in sorted(_lock_keys(spec, access)):
        yield f"{spec.bucket}/{key.removesuffix(LOCK_SUFFIX)}", msgspec.structs.replace(spec, key=key)


def _lock_ids(spec: DynamoDBSpec, access: Credentials) -> Iterator[str]:
    question: dict[str, Any] = {
        "TableName": spec.table,
        "ConsistentRead": True,
        "ProjectionExpression": "LockID",
        "FilterExpression": "attribute_exists(Info)",
    }
    with closing(access.client("dynamodb", spec.endpoint)) as client:
        while True:
            answer = client.ask("scan", f"DynamoDB table {spec.table}", question)
            yield from (str(item["LockID"]["S"]) for item in answer.get("Items", ()))
            if not answer.get("LastEvaluatedKey"):
                return
            question["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _lock_keys(spec: S3Spec, access: Credentials) -> Iterator[str]:
    question: dict[str, Any] = {"Bucket": spec.bucket}
    with closing(access.s3_client(spec)) as client:
        while True:
            answer = client.ask("list_objects_v2", f"s3://{spec.bucket}", question)
            yield from (entry["Key"] for entry in answer.get("Contents", ()) if entry["Key"].endswith(LOCK_SUFFIX))
            if not answer.get("IsTruncated"):
                return
            question["ContinuationToken"] = answer["NextContinuationToken"]
