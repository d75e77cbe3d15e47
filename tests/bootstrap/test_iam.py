"""What the printed policies allow, and what they cannot be talked into by odd names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfguard.bootstrap.blueprint import Blueprint, draw
from tfguard.bootstrap.iam import WITHOUT, policies
from tfguard.errors import ConfigError

S3_BACKEND = {"bucket": "acme", "key": "network.tfstate", "region": "eu-central-1"}


def plan(workspace: str = "default", **config: Any) -> Blueprint:
    return draw({**S3_BACKEND, **config}, Path(), workspace, {})


def statements(blueprint: Blueprint, job: Any = "apply") -> dict[str, dict[str, Any]]:
    found = policies(blueprint)[job]["Statement"]
    assert len({each["Sid"] for each in found}) == len(found)
    return {each["Sid"]: each for each in found}


def test_who_plans_writes_neither_state_nor_digest():
    blueprint = plan(use_lockfile=True, dynamodb_table="locks")
    state = "arn:aws:s3:::acme/network.tfstate"

    for each in statements(blueprint, "plan").values():
        writes = any("Put" in action for action in each["Action"])
        keys = each.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("dynamodb:LeadingKeys", [])
        assert not (writes and (each["Resource"] == state or keys == ["acme/network.tfstate-md5"]))


@pytest.mark.parametrize(
    ("config", "locks"),
    [
        ({"use_lockfile": True}, {"TakeTheLock"}),
        ({"dynamodb_table": "locks"}, {"TakeTheLock"}),
        ({"use_lockfile": True, "dynamodb_table": "locks"}, {"TakeTheLock", "TakeTheLockInTheTable"}),
        ({}, set()),
    ],
)
def test_the_lock_is_allowed_where_the_backend_keeps_it(config, locks):
    found = statements(plan(**config))

    assert {sid for sid in found if sid.startswith("TakeTheLock")} == locks
    assert ("KeepTheLine" in found) == bool(locks)


def test_a_table_is_opened_for_items_of_this_state_alone():
    found = statements(plan("stage", dynamodb_table="locks"))

    keys = {
        key
        for each in found.values()
        if each["Action"][0].startswith("dynamodb:")
        for key in each["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]
    }
    lock = "acme/env:/stage/network.tfstate"
    assert keys == {lock, f"{lock}-md5", f"{lock}.tfguard"}


def test_what_may_be_left_out_is_there():
    assert WITHOUT.keys() <= statements(plan(use_lockfile=True)).keys()


def test_signs_of_iam_in_a_key_stand_for_themselves():
    found = statements(plan(key="a*/b?/${aws:userid}", dynamodb_table="locks"))

    assert found["WriteTheState"]["Resource"] == "arn:aws:s3:::acme/a${*}/b${?}/${$}{aws:userid}"
    keys = found["TakeTheLock"]["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]
    assert keys == ["acme/a*/b?/${$}{aws:userid}"]


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("arn:aws:kms:eu-central-1:1:key/abc", "arn:aws:kms:eu-central-1:1:key/abc"),
        ("abc", "arn:aws:kms:eu-central-1:*:key/abc"),
        ("arn:aws:kms:eu-central-1:1:alias/state", "arn:aws:kms:eu-central-1:*:key/*"),
    ],
)
def test_the_key_is_allowed_however_it_is_named(key, resource):
    found = statements(plan(kms_key_id=key))["UseTheKey"]

    assert found["Resource"] == resource
    assert ("Condition" in found) == ("alias" in key)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-isob-east-1", "aws-iso-b")],
)
def test_other_parts_of_aws_have_arns_of_their_own(region, partition):
    blueprint = plan(region=region, dynamodb_table="locks")

    assert {each["Resource"].split(":")[1] for each in statements(blueprint).values()} == {partition}
    assert blueprint.tls_only_policy()["Statement"][0]["Resource"][0] == f"arn:{partition}:s3:::acme"


def test_without_a_key_nobody_knows_what_to_allow():
    with pytest.raises(ConfigError, match="names no key"):
        policies(plan(key=""))
