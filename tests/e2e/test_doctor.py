"""`doctor`: what is wrong with a state, and the mending of one that a killed run has left unreadable."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import GATED, Backend, Stage
from tests.e2e.operated import guarded, kill_all_of
from tests.eventually import eventually
from tests.proxy import Proxy, proxy

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


def findings(made: Stage, code: int = 0, **environ: str) -> dict[str, dict[str, Any]]:
    result = made.tfguard("doctor", "--json", **environ)
    assert result.code == code, str(result)
    return {each["check"]: each for each in json.loads(result.out)["findings"]}


def break_digest(made: Stage) -> None:
    """As a run leaves it that was killed after it had written the state, before it wrote the digest."""
    item = {"LockID": {"S": f"{made.bucket}/{made.key}-md5"}, "Digest": {"S": "0" * 32}}
    made.dynamodb.client.put_item(TableName=made.table, Item=item)


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both", "local"])
def test_a_healthy_state_has_no_failure_and_nothing_is_left_behind(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    made.tfguard("apply", "-auto-approve")
    before = [] if backend == "local" else made.objects()

    found, text = findings(made), made.tfguard("doctor")

    assert {each["mark"] for each in found.values()} <= {"ok", "warning"}
    assert found["binary"]["mark"] == found["directory"]["mark"] == found["lock"]["mark"] == "ok"
    assert ("writing" in found) == (backend != "local")
    assert ("dynamodb_table" in found) == (backend in ("dynamodb", "both"))
    assert text.code == 0
    assert text.out.startswith("✓ binary")
    assert made.leftovers() == []
    assert before == ([] if backend == "local" else made.objects())


def test_an_uninitialised_directory_fails(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    found = findings(made, code=1)

    assert found["directory"]["mark"] == "failure"
    assert "lock" not in found


def test_a_missing_table_fails_and_is_named(stage: Make) -> None:
    made = stage("dynamodb")
    made.dynamodb.client.delete_table(TableName=made.table)

    found = findings(made, code=1)

    assert found["lock"]["mark"] == "failure"
    assert made.table in found["lock"]["says"]


def test_a_held_lock_is_no_failure(stage: Make) -> None:
    made = stage("dynamodb")

    with guarded(made):
        found = findings(made)

    assert found["lock"]["mark"] == "ok"
    assert "held" in found["lock"]["says"]


def test_no_secret_is_printed(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("doctor", AWS_SECRET_ACCESS_KEY="planted-secret-0123456789")

    assert "planted-secret" not in result.out + result.err


@pytest.mark.parametrize("backend", ["dynamodb", "both"])
def test_a_wrong_digest_is_found_and_repaired(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    made.tfguard("apply", "-auto-approve")
    break_digest(made)

    found = findings(made, code=1)
    result = made.tfguard("doctor", "--repair-digest", "--yes")

    assert found["digest"]["advice"] == "tfguard doctor --repair-digest"
    assert result.code == 0, str(result)
    assert "serial" in result.err
    assert "lineage" in result.err
    assert made.wrong_digests() == []
    assert made.locks() == []
    assert findings(made)["digest"]["mark"] == "ok"


def test_nobody_repairs_under_somebody_elses_lock(stage: Make) -> None:
    made = stage("dynamodb")
    made.tfguard("apply", "-auto-approve")

    with guarded(made):
        break_digest(made)
        result = made.tfguard("--lock-timeout", "0s", "doctor", "--repair-digest", "--yes")
        wrong = made.wrong_digests()

    assert result.code == 75, str(result)
    assert wrong == [made.key]


def test_what_is_no_state_is_not_taken_for_one(stage: Make) -> None:
    made = stage("dynamodb")
    made.tfguard("apply", "-auto-approve")
    made.s3.client.put_object(Bucket=made.bucket, Key=made.key, Body=b"<html>no state</html>")

    result = made.tfguard("doctor", "--repair-digest", "--yes")

    assert result.code == 78, str(result)
    assert "nothing was repaired" in result.err
    assert made.wrong_digests() == [made.key]


def test_a_repair_without_a_terminal_wants_a_yes(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    result = made.tfguard("doctor", "--repair-digest")

    assert result.code == 64
    assert "tfguard doctor --repair-digest --yes" in result.err


@pytest.mark.slow
def test_a_state_broken_by_a_killed_run_is_found_and_mended(stage: Make) -> None:
    """At three in the morning: status, unlock, doctor --repair-digest, and work goes on."""
    made = stage("dynamodb", is_initialised=False)
    with proxy(made.endpoints["dynamodb"]) as between:
        made.endpoints["dynamodb"] = between.endpoint
        made.write()
        assert made.init().tfguard("apply", "-auto-approve").code == 0
        serial = made.state()["serial"]
        made.write(GATED)
        kill_between_state_and_digest(made, between, serial)

        shown = json.loads(made.tfguard("status", "--json").out)["locks"][0]
        unlocked = made.tfguard("unlock", "--id", shown["id"], "--yes")
        found = findings(made, code=1)
        repaired = made.tfguard("doctor", "--repair-digest", "--yes")
        goes_on = made.tfguard("plan")

    assert unlocked.code == 0, str(unlocked)
    assert found["digest"]["mark"] == "failure"
    assert repaired.code == 0, str(repaired)
    assert goes_on.code == 0, str(goes_on)
    assert made.state()["serial"] > serial


def kill_between_state_and_digest(made: Stage, table: Proxy, serial: int) -> None:
    """Kill a real run, all of it, when its state is in the bucket and the digest on its way to the table."""
    process = made.start_tfguard("apply", "-auto-approve", TFGUARD_LOCK_LEASE="90s")
    made.wait_for_log("begin", 2)
    table.turn("hang")
    made.open_gate()
    eventually(lambda: made.state()["serial"] > serial, 30, "a newer state")
    kill_all_of(process)
    table.turn("pass")
    assert made.wrong_digests() == [made.key]
