"""What a table must be like to hold Terraform's locks, and where it is if it is not where it should be."""

from __future__ import annotations

import os

import msgspec

from tfguard.backends.aws.answers import code_of
from tfguard.backends.aws.facts import LOCK_KEY, TableFacts, table_client
from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.errors import StoreMisconfigured, TfguardError
from tfguard.findings import Answer, failure, ok

#: In these a table takes requests. While it is created or restored it does not.
_USABLE = {"ACTIVE", "UPDATING"}


def where_else(spec: DynamoDBSpec, wanted: str) -> str:
    """Return the region that AWS_REGION points to, if it has the table and the wanted one has none; else nothing."""
    if _is_there(spec, wanted) is not False:
        return ""
    others = {os.environ.get(name, "") for name in ("AWS_REGION", "AWS_DEFAULT_REGION")} - {"", wanted}
    return next((other for other in sorted(others) if _is_there(spec, other)), "")


def _is_there(spec: DynamoDBSpec, place: str) -> bool | None:
    """Whether a region has the table; None where nobody tells."""
    try:
        aws = msgspec.structs.replace(spec.aws, region=place)
        with table_client(msgspec.structs.replace(spec, aws=aws)) as client:
            client.ask("get_item", f"table {spec.table}", {"TableName": spec.table, "Key": {"LockID": {"S": "-"}}})
    except StoreMisconfigured as error:
        return False if code_of(error) == "ResourceNotFoundException" else None
    except TfguardError:
        return None
    return True


def judge_table(facts: TableFacts) -> Answer:
    """Judge a table by what AWS tells of it."""
    if facts.key != LOCK_KEY:
        key = ", ".join(f"{name} ({kind}, {role.lower()})" for name, kind, role in facts.key)
        return failure(
            f"table {facts.name} cannot hold locks: its key is {key}",
            "Terraform needs a single hash key of type string, named exactly LockID: create another table.",
        )
    if facts.status not in _USABLE:
        return failure(f"table {facts.name} is {facts.status}, not ACTIVE", "Wait until it is, or mend it.")
    if facts.replicas and not facts.is_strongly_consistent:
        return failure(
            f"table {facts.name} is replicated to {', '.join(facts.replicas)}: there the last writer wins",
            "Two runs in two regions can hold one lock. Use a table without replicas, or use_lockfile.",
        )
    replicas = "its replicas are strongly consistent" if facts.replicas else "it has no replicas"
    return ok(f"table {facts.name} is {facts.status}, its key is LockID, and {replicas}")
