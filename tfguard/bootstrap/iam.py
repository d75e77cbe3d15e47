"""
What a run may do, and nothing more: IAM policies for who plans, and for who applies, on one state.

The lock takes the same in both, since a plan holds it too. Each statement's Sid says what it is for; `WITHOUT` says
what is lost where an optional one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tfguard.bootstrap.blueprint import Blueprint
from tfguard.errors import ConfigError
from tfguard.lock.names import COPY_MARK, DIGEST_SUFFIX, LOCK_SUFFIX, PROBE_MARK, QUEUE_SUFFIX

Job = Literal["plan", "apply"]

#: The statements that a run can do without, and what is lost then.
WITHOUT = {
    "KeepTheLine": "no fair line, no fencing token, no history",
    "KeepAnUnsavedState": "a state that could not be saved stays on the runner, and dies with it",
}

_Statement = dict[str, Any]


def policies(plan: Blueprint) -> dict[Job, dict[str, Any]]:
    """
    Give both policies, as documents for IAM.

    Raises:
        ConfigError: The backend names no key, so nobody knows which objects are meant.
    """
    if not plan.state.key:
        raise ConfigError("The backend names no key.\nName it as you would to init: --backend-config key=NAME")
    jobs: tuple[Job, ...] = ("plan", "apply")
    return {job: {"Version": "2012-10-17", "Statement": list(_statements(plan, job))} for job in jobs}


def _statements(plan: Blueprint, job: Job) -> Iterator[_Statement]:
    is_apply, key = job == "apply", plan.state.key
    yield _allow("FindTheState", ["s3:ListBucket"], _bucket(plan))
    if is_apply:
        yield _allow("WriteTheState", ["s3:GetObject", *_writing(plan)], _object(plan, key))
    else:
        yield _allow("ReadTheState", ["s3:GetObject"], _object(plan, key))
    yield from _lock(plan)
    if plan.table:
        actions = ["dynamodb:GetItem", *(["dynamodb:PutItem"] if is_apply else [])]
        yield _on_item(plan, "WriteTheDigest" if is_apply else "ReadTheDigest", actions, DIGEST_SUFFIX)
    yield from _line(plan)
    copying = ["s3:GetObject", *(_writing(plan) if is_apply else [])]
    yield _allow("KeepAnUnsavedState", copying, _object(plan, key, COPY_MARK + "*"))
    if plan.state.kms_key_id:
        writes = is_apply or plan.has_lock_object
        yield _key(plan, ["kms:Decrypt", *(["kms:GenerateDataKey"] if writes else [])])


def _lock(plan: Blueprint) -> Iterator[_Statement]:
    if plan.has_lock_object:
        actions = ["s3:GetObject", *_writing(plan), "s3:DeleteObject"]
        yield _allow("TakeTheLock", actions, _object(plan, plan.state.key + LOCK_SUFFIX))
        if plan.state.endpoint:
            # A server that is not AWS's has to show, on objects of ours, that it honours conditions.
            yield _allow("ProveTheServer", actions, _object(plan, plan.state.key, f"*{PROBE_MARK}*"))
    if plan.table:
        sid = "TakeTheLockInTheTable" if plan.has_lock_object else "TakeTheLock"
        yield _on_item(plan, sid, ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"], "")


def _line(plan: Blueprint) -> Iterator[_Statement]:
    """The queue record is kept where the lock is, in the last of its places."""
    if plan.table:
        yield _on_item(plan, "KeepTheLine", ["dynamodb:GetItem", "dynamodb:PutItem"], QUEUE_SUFFIX)
    elif plan.has_lock_object:
        yield _allow("KeepTheLine", ["s3:GetObject", *_writing(plan)], _object(plan, plan.state.key + QUEUE_SUFFIX))


def _writing(plan: Blueprint) -> list[str]:
    return ["s3:PutObject", *(["s3:PutObjectAcl"] if plan.state.acl else [])]


def _allow(sid: str, actions: list[str], resource: str) -> _Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def _on_item(plan: Blueprint, sid: str, actions: list[str], suffix: str) -> _Statement:
    """On one item of the table: nobody's other locks can be read or written."""
    assert plan.table is not None
    resource = f"arn:{plan.partition}:dynamodb:{plan.region or '*'}:*:table/{plan.table.table}"
    key = (plan.table.lock_id + suffix).replace("$", "${$}")
    condition = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [key]}}
    return {**_allow(sid, actions, resource), "Condition": condition}


def _key(plan: Blueprint, actions: list[str]) -> _Statement:
    """A key is named by its ARN or ID; where only an alias is known, by that."""
    name = plan.state.kms_key_id
    place = f"arn:{plan.partition}:kms:{plan.region or '*'}:*:key/"
    alias = name[name.rindex("alias/") :] if "alias/" in name else ""
    if alias:
        condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [alias]}}
        return {**_allow("UseTheKey", actions, place + "*"), "Condition": condition}
    return _allow("UseTheKey", actions, name if name.startswith("arn:") else place + name)


def _bucket(plan: Blueprint) -> str:
    return f"arn:{plan.partition}:s3:::{_literal(plan.state.bucket)}"


def _object(plan: Blueprint, key: str, pattern: str = "") -> str:
    """An object's ARN; only `pattern` may hold wildcards."""
    return f"{_bucket(plan)}/{_literal(key)}{pattern}"


def _literal(text: str) -> str:
    """Text in which IAM reads no wildcard and no variable."""
    return "".join(f"${{{character}}}" if character in "*?$" else character for character in text)
