"""What an operator does by hand: look at a lock, and free it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import TFGUARD, Backend, Result, Stage
from tests.e2e.operated import guarded, kill_all_of, plain
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
REMOTE: tuple[Backend, ...] = ("dynamodb", "s3", "both")


def status(made: Stage) -> dict[str, Any]:
    result = made.tfguard("status", "--json")
    assert result.code == 0, str(result)
    found: dict[str, Any] = json.loads(result.out)
    return found


def assert_short(result: Result) -> None:
    assert all(len(line) <= 120 for line in result.err.splitlines()), str(result)


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both", "local"])
def test_status_shows_who_holds_and_then_how_it_ended(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    with guarded(made):
        held, text = status(made), made.tfguard("status")
    free = status(made)

    lock = held["locks"][0]
    assert lock["verdict"] == ("kernel" if backend == "local" else "alive")
    assert lock["id"] in text.out
    assert lock["who"] in text.out
    assert "held" in text.out.splitlines()[0]
    if backend != "local":
        assert (lock["command"], lock["token"]) == ("apply", 1)
    assert not free["is_held"]
    assert free["last_run"]["outcome"] == "interrupted"
    assert free["last_run"]["exit_code"] == 130


@pytest.mark.parametrize("backend", REMOTE)
def test_status_knows_a_plain_terraform(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    with plain(made):
        found = status(made)

    assert [lock["verdict"] for lock in found["locks"]] == ["plain"] * (2 if backend == "both" else 1)
    assert found["locks"][0]["says"] == "plain Terraform: no heartbeat"


def test_status_says_when_a_dead_runs_lock_may_be_taken(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made) as process:
        kill_all_of(process)

    late = eventually(lambda: _is_verdict(made, "late"), 60)
    expired = eventually(lambda: _is_verdict(made, "expired"), 60)

    assert "whoever waits takes over in" in late["says"]
    assert "the next run will take over in" in expired["says"]


def _is_verdict(made: Stage, verdict: str) -> dict[str, Any] | None:
    lock: dict[str, Any] = status(made)["locks"][0]
    return lock if lock["verdict"] == verdict else None


def test_status_never_runs_init(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    result = made.tfguard("status")

    assert result.code == 0, str(result)
    assert "source    not initialised: worked out from its files" in result.out
    assert not (made.path / ".terraform").exists()


@pytest.mark.parametrize("backend", REMOTE)
def test_unlock_refuses_while_the_heartbeat_is_alive(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    with guarded(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        result = made.tfguard("unlock", "--id", lock_id, "--yes")
        still = made.locks()
        is_running = process.poll() is None

    assert result.code == 75, str(result)
    assert "not unlocked, for its holder is alive" in result.err
    assert f"unlock --id {lock_id} --force --reason" in result.err
    assert {lock["ID"] for lock in still} == {lock_id}
    assert is_running
    assert_short(result)


@pytest.mark.parametrize("backend", REMOTE)
def test_forced_unlock_ends_the_run_with_76(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    with guarded(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        result = made.tfguard("unlock", "--id", lock_id, "--yes", "--force", "--reason", "its runner hangs")
        _, err = process.communicate(timeout=patience(20))

    assert result.code == 0, str(result)
    assert "stops what it runs and ends with exit 76" in result.err
    assert process.returncode == 76, err
    assert made.locks() == []
    last = status(made)["last_run"]
    assert (last["outcome"], last["reason"]) == ("unlocked", "its runner hangs")
    assert last["unlocked_by"]


@pytest.mark.parametrize("backend", REMOTE)
def test_unlock_frees_a_plain_terraforms_lock(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    with plain(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        kill_all_of(process)

    result = made.tfguard("unlock", "--id", lock_id, "--yes")

    assert result.code == 0, str(result)
    assert made.locks() == []
    assert made.tfguard("apply", "-auto-approve").code == 0


def test_unlock_frees_a_dead_runs_lock_at_once_after_its_silence(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        kill_all_of(process)

    result = made.tfguard("unlock", "--id", lock_id, "--yes")

    assert result.code == 0, str(result)
    assert "No heartbeat shows" in result.err
    assert made.locks() == []


def test_unlock_of_another_lock_shows_the_present_one_and_does_nothing(stage: Make) -> None:
    made = stage("s3")

    with plain(made):
        lock_id = made.wait_for_lock()["ID"]
        result = made.tfguard("unlock", "--id", "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", "--yes")
        still = [lock["ID"] for lock in made.locks()]

    assert result.code == 75, str(result)
    assert "there is no lock 0aaf67c2" in result.err
    assert still == [lock_id]


def test_unlock_without_a_terminal_needs_an_id_and_yes(stage: Make) -> None:
    made = stage("s3")

    with plain(made):
        lock_id = made.wait_for_lock()["ID"]
        results = [made.tfguard("unlock"), made.tfguard("unlock", "--id", lock_id), made.tfguard("unlock", "--yes")]
        still = [lock["ID"] for lock in made.locks()]

    assert [result.code for result in results] == [64, 64, 64], results
    assert all(f"unlock --id {lock_id} --yes" in result.err for result in results)
    assert still == [lock_id]


def test_unlock_of_a_free_lock_is_done_already(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("unlock", "--id", "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", "--yes")

    assert result.code == 0, str(result)
    assert "nothing to unlock" in result.err


def test_a_local_lock_cannot_be_unlocked(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("unlock")

    assert result.code == 64, str(result)
    assert "ends with its process" in result.err


def test_force_needs_a_reason(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("unlock", "--force")

    assert result.code == 64
    assert "--force needs a reason" in result.err


def test_an_unreadable_lock_is_freed_by_force_alone(stage: Make) -> None:
    made = stage("dynamodb")
    item = {"LockID": {"S": f"{made.bucket}/{made.key}"}, "Info": {"S": "rubbish"}}
    made.dynamodb.client.put_item(TableName=made.table, Item=item)

    shown = status(made)["locks"][0]
    refused = made.tfguard("unlock", "--yes")
    forced = made.tfguard("unlock", "--yes", "--force", "--reason", "rubbish")

    assert shown["verdict"] == "unreadable"
    assert refused.code == 64, str(refused)
    assert forced.code == 0, str(forced)
    assert made.dynamodb.item(made.table, f"{made.bucket}/{made.key}") is None


def test_on_a_terminal_unlock_asks(stage: Make) -> None:
    import pexpect

    made = stage("s3")
    with plain(made) as process:
        made.wait_for_lock()
        kill_all_of(process)

    def answer(word: str) -> int:
        child = pexpect.spawn(
            TFGUARD[0],
            [*TFGUARD[1:], "unlock"],
            cwd=made.path,
            env=made.environ,
            timeout=patience(10),
            dimensions=(24, 200),
        )
        child.expect("Only 'yes' is accepted: ")
        child.sendline(word)
        child.expect(pexpect.EOF)
        child.close()
        return int(child.exitstatus)

    said_no, still = answer("no"), len(made.locks())
    said_yes = answer("yes")

    assert (said_no, still) == (1, 1)
    assert (said_yes, made.locks()) == (0, [])
