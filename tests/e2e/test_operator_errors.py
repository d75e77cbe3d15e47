"""What goes wrong while an operator looks at a lock, holds it or frees it: one clear message, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import TFGUARD, Backend, Result, Stage
from tests.e2e.refusing import Refusing, refusing
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
OLD, NEW = "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", "11111111-2222-4333-8444-555555555555"
#: The operator's commands, with what they need to go on without asking.
COMMANDS = {
    "status": ["status"],
    "history": ["history"],
    "unlock": ["unlock", "--id", OLD, "--yes"],
    "hold": ["hold", "--reason", "moving the subnets"],
}


@pytest.fixture
def between(stage: Make) -> Iterator[Callable[..., tuple[Stage, Refusing]]]:
    """Make a stage whose requests to one service go through us."""
    with ExitStack() as stack:

        def make(backend: Backend, service: str) -> tuple[Stage, Refusing]:
            made = stage(backend, is_initialised=False)
            proxy = stack.enter_context(refusing(made.endpoints[service]))
            made.endpoints[service] = proxy.endpoint
            made.write()
            return made.init(), proxy

        yield make


def put_lock(made: Stage, lock_id: str, who: str) -> None:
    """Write a plain Terraform's lock, whatever was there."""
    info = json.dumps({"ID": lock_id, "Operation": "OperationTypeApply", "Who": who, "Created": "2026-01-01T00:00:00Z"})
    if made.backend == "s3":
        made.s3.client.put_object(Bucket=made.bucket, Key=f"{made.key}.tflock", Body=info.encode())
    else:
        item = {"LockID": {"S": f"{made.bucket}/{made.key}"}, "Info": {"S": info}}
        made.dynamodb.client.put_item(TableName=made.table, Item=item)


def assert_says(result: Result, code: int, *parts: str) -> None:
    assert result.code == code, str(result)
    assert all(part in result.err for part in parts), str(result)
    assert result.out == ""
    assert len(result.err.splitlines()) <= 3
    assert all(len(line) <= 120 for line in result.err.splitlines())


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_lock_that_changes_while_the_operator_thinks_is_shown_and_left_alone(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    put_lock(made, OLD, "ana@laptop")
    child = pexpect.spawn(
        TFGUARD[0],
        [*TFGUARD[1:], "unlock"],
        cwd=made.path,
        env=made.environ,  # type: ignore[arg-type]
        timeout=patience(10),
        dimensions=(24, 200),
        encoding="utf-8",
    )
    child.expect("Only 'yes' is accepted: ")
    put_lock(made, NEW, "bob@desk")

    child.sendline("yes")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 75, child.before
    assert "bob@desk" in (child.before or "")
    assert [lock["ID"] for lock in made.locks()] == [NEW]


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_lock_that_is_not_there_is_told_with_the_one_that_is(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    put_lock(made, NEW, "bob@desk")

    result = made.tfguard(*COMMANDS["unlock"])

    assert_says(result, 75, f"nothing was unlocked: there is no lock {OLD}.\nIt is held by bob@desk")
    assert [lock["ID"] for lock in made.locks()] == [NEW]


@pytest.mark.parametrize(
    ("command", "action"),
    [("status", "GetItem"), ("history", "GetItem"), ("unlock", "DeleteItem"), ("hold", "PutItem")],
)
def test_a_missing_permission_on_the_table_is_named(
    between: Callable[..., tuple[Stage, Refusing]], command: str, action: str
) -> None:
    made, proxy = between("dynamodb", "dynamodb")
    before = [OLD] if command == "unlock" else []
    for lock_id in before:
        put_lock(made, lock_id, "ana@laptop")
    proxy.refuse = lambda _, __, asked: asked == action

    result = made.tfguard(*COMMANDS[command])

    assert result.code == 77, str(result)
    assert f"AWS denies dynamodb:{action} on DynamoDB table {made.table}" in result.err
    assert f"Allow dynamodb:{action} for these credentials." in result.err
    assert [lock["ID"] for lock in made.locks()] == before


@pytest.mark.parametrize(
    ("command", "method", "action"), [("status", "GET", "Get"), ("unlock", "DELETE", "Delete"), ("hold", "PUT", "Put")]
)
def test_a_missing_permission_on_the_lock_object_is_named(
    between: Callable[..., tuple[Stage, Refusing]], command: str, method: str, action: str
) -> None:
    made, proxy = between("s3", "s3")
    before = [OLD] if command == "unlock" else []
    for lock_id in before:
        put_lock(made, lock_id, "ana@laptop")
    proxy.refuse = lambda asked, path, _: asked == method and path.endswith(".tflock")

    result = made.tfguard(*COMMANDS[command])

    assert result.code == 77, str(result)
    assert f"AWS denies s3:{action}Object on s3://{made.bucket}/{made.key}.tflock" in result.err
    assert [lock["ID"] for lock in made.locks()] == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_in_another_region_is_missing_in_this_one(
    between: Callable[..., tuple[Stage, Refusing]], command: str
) -> None:
    made, proxy = between("dynamodb", "dynamodb")
    proxy.reason = "ResourceNotFoundException"
    proxy.refuse_signed = lambda signature: "/eu-west-1/" not in signature

    result = made.tfguard(*COMMANDS[command])

    assert_says(result, 78, f"There is no DynamoDB table {made.table}", "correct its name or the region (us-east-1)")
    assert made.locks() == []


@pytest.mark.parametrize(("command", "says"), [("unlock", "a lock in a file "), ("hold", "this lock ends with ")])
def test_a_local_lock_is_the_kernels_business(stage: Make, command: str, says: str) -> None:
    made = stage("local", is_initialised=False)
    files: Any = sorted(made.path.rglob("*"))

    result = made.tfguard(*COMMANDS[command])

    assert_says(result, 64, f"stage/terraform.tfstate: {says}", "ends with ")
    assert sorted(made.path.rglob("*")) == files
