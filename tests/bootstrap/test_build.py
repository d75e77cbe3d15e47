"""Building, where AWS takes its time: a client that plays AWS's part answers from a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tfguard.backends.aws.answers import answers
from tfguard.bootstrap.build import TRIES, build_table
from tfguard.errors import ConfigError, StoreUnavailable

ARN = "arn:aws:dynamodb:eu-central-1:1:table/locks"


def table(status: str, key: str = "LockID") -> dict[str, Any]:
    return {
        "Table": {
            "TableArn": ARN,
            "TableStatus": status,
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        }
    }


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Operation")


@dataclass
class ScriptedClient:
    """Answers each method from its list, the last answer again and again; `asked` has the methods in order."""

    script: dict[str, list[Any]]
    asked: list[str] = field(default_factory=list)
    is_aws: bool = True
    region: str = "eu-central-1"

    def ask(self, method: str, resource: str, parameters: Any, max_body: int = 0) -> Any:
        self.asked.append(method)
        line = self.script.get(method, [{}])
        answer = line.pop(0) if len(line) > 1 else line[0]
        with answers(method, resource, self.region):
            if isinstance(answer, Exception):
                raise answer
            return answer


def build(**script: list[Any]) -> tuple[ScriptedClient, list[float]]:
    client, pauses = ScriptedClient(script), []
    build_table(client, "locks", pauses.append)
    return client, pauses


def test_a_table_is_set_up_once_it_is_there():
    missing = refusal("ResourceNotFoundException")

    client, pauses = build(describe_table=[missing, table("CREATING"), table("CREATING"), table("ACTIVE")])

    assert client.asked == ["create_table", *["describe_table"] * 4, "update_continuous_backups", "untag_resource"]
    assert pauses == [2.0, 2.0, 2.0]


def test_a_table_that_never_gets_ready_is_given_up():
    with pytest.raises(StoreUnavailable, match="still CREATING after 180 s"):
        build(describe_table=[table("CREATING")])


def test_backups_that_are_not_ready_are_asked_for_again():
    early = [refusal("ContinuousBackupsUnavailableException")] * 20

    client, pauses = build(describe_table=[table("ACTIVE")], update_continuous_backups=[*early, {}])

    assert client.asked.count("update_continuous_backups") == 21
    assert sum(pauses) > 10


def test_throttling_is_waited_out_for_a_while():
    with pytest.raises(StoreUnavailable):
        build(create_table=[refusal("ThrottlingException")])

    client, _ = build(
        create_table=[*[refusal("ThrottlingException")] * (TRIES - 1), {}], describe_table=[table("ACTIVE")]
    )

    assert client.asked.count("create_table") == TRIES


def test_a_table_that_somebody_else_has_just_created_is_ours_too_if_locks_can_live_in_it():
    there = refusal("ResourceInUseException")

    client, _ = build(create_table=[there], describe_table=[table("ACTIVE")])

    assert client.asked.count("create_table") == 1
    with pytest.raises(ConfigError, match="another key"):
        build(create_table=[there], describe_table=[table("ACTIVE", key="id")])
