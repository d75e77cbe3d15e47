"""`exec`: any program under a lock; `doctor`: the proof that the lock is Terraform's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.e2e.conftest import BACKENDS, GATED, TFGUARD, Backend, Stage
from tests.e2e.running import running

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")
NESTED = " ".join(TFGUARD)
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'


def sh(script: str) -> tuple[str, ...]:
    return ("exec", "--", "sh", "-c", script)


# --- under the directory's own lock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_exec_runs_a_program_while_the_lock_is_held(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    with running(
        made.start_tfguard(
            *sh("echo id $TFGUARD_LOCK_ID $TFGUARD_FENCING_TOKEN; until test -e gate; do :; sleep 0.05; done")
        )
    ) as ours:
        ours.wait_for("id ")
        held = made.locks()
        refused = made.terraform("plan", "-input=false", "-no-color")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert result.out.split() == ["id", held[0]["ID"], "1"]
    assert {lock["ID"] for lock in held} == {held[0]["ID"]}
    assert refused.code == 1 and held[0]["ID"] in refused.err
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -USR1 $$", 138)]
)
def test_the_exit_status_is_the_programs_own(stage: Make, script: str, code: int) -> None:
    made = stage("local", text=STILL)

    result = made.tfguard(*sh(script))

    assert result.code == code, str(result)
    assert made.leftovers() == []


def test_a_program_that_is_not_there_exits_127_and_locks_nothing(stage: Make) -> None:
    made = stage("local", text=STILL)

    missing = made.tfguard("exec", "--", "no-such-program")
    nothing = made.tfguard("exec")

    assert (missing.code, nothing.code) == (127, 64), f"{missing}{nothing}"
    assert "no-such-program" in missing.err
    assert ": locked" not in missing.err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tfguard_inside_knows_that_the_lock_is_held_around_it(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    result = made.tfguard(
        "--lock-timeout=20s", *sh(f"{NESTED} apply -auto-approve && {NESTED} plan -detailed-exitcode")
    )

    assert result.code == 0, str(result)
    assert result.err.count("locked by the tfguard around us") == 2, result.err
    assert result.err.count("release=nested") == 2
    assert made.resources() == ["terraform_data.a"]
    assert made.leftovers() == []


def test_a_plain_terraform_inside_is_refused(stage: Make) -> None:
    made = stage("both", text=STILL)

    result = made.tfguard(*sh("terraform apply -auto-approve -no-color"))

    assert result.code == 1, str(result)
    assert "Error acquiring the state lock" in result.err
    assert made.state() is None
    assert made.leftovers() == []


@pytest.mark.parametrize("backend", ["both", "local"])
def test_a_lock_id_of_a_run_that_has_ended_is_ignored_with_a_warning(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    stale = "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100"

    result = made.tfguard(*APPLY, TFGUARD_LOCK_ID=stale)

    assert result.code == 0, str(result)
    assert "TFGUARD_LOCK_ID is set" in result.err
    assert ": locked" in result.err and f"({stale})" not in result.err
    assert made.leftovers() == []


def test_each_acquisition_counts_the_fencing_token_up(stage: Make) -> None:
    made = stage("both", text=STILL)

    tokens = [int(made.tfguard(*sh("echo $TFGUARD_FENCING_TOKEN")).out) for _ in range(3)]

    assert tokens == [1, 2, 3]


# --- under a lock of one's own name ---------------------------------------------------------------------------------


def store_url(made: Stage, kind: str) -> str:
    return f"file://{made.path.parent}/locks" if kind == "file" else f"dynamodb://{made.table}"


@pytest.mark.parametrize("kind", ["file", "dynamodb"])
def test_a_named_lock_keeps_others_of_that_name_out(stage: Make, kind: str) -> None:
    made = stage("dynamodb", text=STILL)
    made.environ |= {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": made.endpoints["dynamodb"]}
    where = ("exec", "--name", "deploy", "--store", store_url(made, kind), "--")
    other = ("exec", "--name", "other", "--store", store_url(made, kind), "--")

    with running(made.start_tfguard(*where, "sh", "-c", "echo in; until test -e gate; do sleep 0.05; done")) as first:
        first.wait_for("in\n")
        refused = made.tfguard("--lock-timeout=0s", *where, "true")
        elsewhere = made.tfguard("--lock-timeout=0s", *other, "true")
        made.open_gate()
        result = first.end()
    again = made.tfguard("--lock-timeout=0s", *where, "true")

    assert (result.code, refused.code, elsewhere.code, again.code) == (0, 75, 0, 0), f"{refused}{elsewhere}{again}"
    assert "deploy is held by" in refused.err
    assert made.leftovers() == []


@pytest.mark.parametrize("kind", ["file", "dynamodb"])
def test_a_named_lock_needs_no_terraform_directory(stage: Make, kind: str) -> None:
    made = stage("dynamodb", is_initialised=False)
    made.environ |= {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_DYNAMODB": made.endpoints["dynamodb"]}
    for file in list(made.path.iterdir()):
        file.unlink()

    result = made.tfguard("exec", "--name", "deploy", "--store", store_url(made, kind), "--", "true")

    assert result.code == 0, str(result)
    assert list(made.path.iterdir()) == []


def test_in_named_mode_terraforms_own_locking_stays_on(stage: Make) -> None:
    made = stage("both", text=GATED)
    (made.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n  prod:\n"
        f"    lock: {{mode: named, name: deploy, store: '{store_url(made, 'file')}'}}\n"
    )

    with running(made.start_tfguard("-p", "prod", *APPLY)) as ours:
        ours.wait_for_work(made)
        locks = made.locks()
        refused = made.terraform("plan", "-input=false", "-no-color")
        second = made.tfguard("--lock-timeout=0s", "-p", "prod", "plan")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert len(locks) == 2 and "tfguard" not in json.dumps(locks), "Terraform's own lock, in its own words"
    assert refused.code == 1
    assert second.code == 75, str(second)
    assert made.leftovers() == []


# --- doctor ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_doctor_proves_that_terraform_takes_our_lock(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    made.terraform(*APPLY)
    before = made.state()

    result = made.tfguard("doctor", "--prove-lock")

    assert result.code == 0, str(result)
    assert result.out.startswith("✓ binary")
    assert re.match("✓ proof +Terraform itself is refused while we hold the lock", result.out.splitlines()[-1])
    assert made.state() == before
    assert made.leftovers() == []


def test_doctor_proves_it_for_opentofu(stage: Make, tofu: str) -> None:
    made = stage("dynamodb", text=STILL, is_initialised=False)
    assert made.run([tofu, "init", "-input=false"]).code == 0
    made.environ["TFGUARD_TERRAFORM"] = tofu

    result = made.tfguard("doctor", "--prove-lock")

    assert result.code == 0, str(result)
    assert "✓ proof" in result.out


@pytest.mark.parametrize("backend", BACKENDS)
def test_doctor_says_no_where_terraform_takes_another_lock(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    made.terraform(*APPLY)
    # What stands in for Terraform works on another workspace, so on another state: our lock is not in its way.
    shim = made.path.parent / "terraform-elsewhere"
    shim.write_text('#!/bin/sh\nexport TF_WORKSPACE=elsewhere\nexec terraform "$@"\n')
    shim.chmod(0o755)

    result = made.tfguard("doctor", "--prove-lock", TFGUARD_TERRAFORM=str(shim))

    assert result.code == 1, str(result)
    assert re.search("^✗ proof +Terraform was not refused by our lock", result.out, re.MULTILINE)
    assert made.leftovers() == []
