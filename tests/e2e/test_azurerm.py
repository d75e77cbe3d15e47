"""A real Terraform on Azure: it locks by itself, with our record beside; next to plain ones, after each kind of end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, TFGUARD, Stage
from tests.e2e.native import APPLY, QUICK_BEATS, inner_id
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.e2e.test_gcs import configure
from tests.support import trees
from tests.support.eventually import eventually
from tfguard.backends.azurerm.store import StateLease
from tfguard.lock.lockinfo import LockInfo

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


def named_inner(made: Stage) -> str:
    """The ID of Terraform's own lock as our record has it, empty before it is known."""
    body = made.azure.body(made.bucket, f".tfguard/{made.key}.lock")
    found: str = json.loads(body).get("tfguard", {}).get("inner", "") if body else ""
    return found


def test_a_plain_terraform_is_refused_by_the_childs_own_lock_and_one_that_waits_gets_in(stage: Make) -> None:
    made = stage("azurerm", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        shown = inner_id(made)
        eventually(lambda: named_inner(made) == shown, 30, "the record to name the child's lock")
        status = json.loads(made.tfguard("status", "--json").out)["locks"][0]
        refused = made.terraform("plan", "-input=false", "-no-color")
        busy = made.tfguard("--lock-timeout=0s", "plan")
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1
    assert f"ID:        {shown}" in refused.err
    assert status["force_unlock_id"] == shown != status["id"]
    assert busy.code == 75 and "heartbeat" in busy.err, str(busy)
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert made.leftovers() == []


def test_a_run_killed_before_its_childs_lock_was_known_is_taken_over_all_the_same(stage: Make) -> None:
    made = stage("azurerm", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    kill_all_of(process)
    is_known, shown = named_inner(made), inner_id(made)
    forget_inner(made)
    refused = made.terraform("plan", "-input=false", "-no-color")
    made.open_gate()

    result = made.tfguard(*APPLY)

    assert shown, is_known
    assert refused.code == 1
    assert result.code == 0, str(result)
    assert made.leftovers() == []


def forget_inner(made: Stage) -> None:
    """Let the record of a dead run be what it is in the run's first second."""
    key = f".tfguard/{made.key}.lock"
    record = json.loads(made.azure.body(made.bucket, key))
    record["tfguard"].pop("inner", None)
    made.azure.put(made.bucket, key, json.dumps(record, separators=(",", ":")).encode())


def test_a_plain_terraform_that_came_after_a_force_unlock_is_left_alone(stage: Make) -> None:
    """Our run is dead, a person has unlocked Terraform's own lock, and a plain one works under it now."""
    made = stage("azurerm", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    eventually(lambda: named_inner(made), 30, "the record to name the child's lock")
    kill_all_of(process)
    unlocked = made.terraform("force-unlock", "-force", inner_id(made))

    with running(made.start(["terraform", *APPLY])) as theirs:
        made.wait_for_log("begin", 2)
        shown = inner_id(made)
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("plain Terraform, no heartbeat")
            still = inner_id(made)
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert unlocked.code == 0, str(unlocked)
    assert still == shown
    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert made.leftovers() == []


def test_what_a_frozen_run_writes_after_it_was_superseded_the_server_refuses(stage: Make) -> None:
    made = stage("azurerm", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    terraform = next(each for each in tree if os.path.basename(each.exe()).startswith("terraform"))
    its = [terraform, *terraform.children(recursive=True)]
    trees.suspend(tree)
    made.open_gate()

    second = made.tfguard(*APPLY)
    after = made.state()
    trees.resume(reversed(its))  # Those who would stop it stay frozen.
    eventually(lambda: terraform.status() == psutil.STATUS_ZOMBIE, 60, "the end of the dead run's Terraform")
    trees.kill(tree)
    process.communicate()

    assert second.code == 0, str(second)
    assert (made.path / "errored.tfstate").exists(), "its late write was refused"
    assert made.state() == after
    assert made.leftovers() == []


def test_a_state_that_could_not_be_saved_for_a_persons_force_unlock_is_saved_under_our_lock(stage: Make) -> None:
    made = stage("azurerm", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        unlocked = made.terraform("force-unlock", "-force", inner_id(made))
        made.open_gate()
        result = ours.end()

    assert unlocked.code == 0, str(unlocked)
    assert result.code == 1, str(result)
    assert made.resources() == ["terraform_data.work"], str(result)
    assert made.leftovers() == []


def held_back(made: Stage) -> Path:
    """A Terraform of which each apply writes a line into `asked` and then waits for the file `go`."""
    program = made.path / "slow"
    wait = "case $* in *apply*) echo >> asked; until test -e go; do sleep 0.05; done;; esac"
    program.write_text(f'#!/bin/sh\n{wait}\nexec terraform "$@"\n')
    program.chmod(0o755)
    return program


def asked(made: Stage) -> int:
    """How many applies a Terraform that is held back was asked for."""
    found = made.path / "asked"
    return len(found.read_text().splitlines()) if found.exists() else 0


def test_a_plain_terraform_that_got_in_before_our_child_keeps_its_lock_when_that_is_refused(stage: Make) -> None:
    """Its lock looks like our child's: the same user, host and command, and younger than our record."""
    made = stage("azurerm", text=GATED)
    slow = str(held_back(made))

    with running(made.start_tfguard("--lock-timeout=4s", *APPLY, TFGUARD_TERRAFORM=slow, **QUICK_BEATS)) as ours:
        eventually(lambda: asked(made) == 1, 30, "our child's start")
        with running(made.start(["terraform", *APPLY])) as theirs:
            theirs.wait_for_work(made)
            shown = inner_id(made)
            (made.path / "go").touch()
            result = ours.end()
            still = inner_id(made)
            made.open_gate()
            other = theirs.end()

    assert result.code == 1 and "Error acquiring the state lock" in result.err, str(result)
    assert still == shown
    assert other.code == 0, str(other)
    assert made.leftovers() == []


def test_a_child_that_finds_a_plain_terraform_making_the_state_is_run_again(stage: Make) -> None:
    """Terraform makes a state that is not there yet under a lock for which no `-lock-timeout` counts."""
    made = stage("azurerm", text=STILL)
    first = LockInfo(id=str(uuid.uuid4()), operation="init", who="them@there", created="2026-11-28T10:00:00Z")
    made.azure.delete(made.bucket, made.key)

    with (
        contextlib.closing(made.azure.client(made.bucket)) as client,
        running(made.start_tfguard(*APPLY, TFGUARD_TERRAFORM=str(held_back(made)), **QUICK_BEATS)) as ours,
    ):
        eventually(lambda: asked(made) == 1, 30, "our child's start")
        theirs = StateLease(client, made.key)
        theirs.take(first)
        (made.path / "go").touch()
        eventually(lambda: asked(made) == 2 or ours.process.poll() is not None, 60, "our child's second start")
        theirs.free(first.id)
        result = ours.end()

    assert result.code == 0, str(result)
    assert "already locked" in result.err
    assert made.leftovers() == []


@pytest.mark.long
def test_a_child_that_waits_for_a_lock_of_its_own_that_it_has_forgotten_gets_in(stage: Make) -> None:
    """
    A Terraform that finds no state takes a lock to make one, and keeps that if another has made it in between.

    The lock is put there as it leaves it; that it does was seen with Terraform 1.11.4.
    """
    made = stage("azurerm", text=STILL)
    slow = str(held_back(made))
    made.azure.put(
        made.bucket, made.key, b'{"version": 4, "serial": 1, "lineage": "theirs", "outputs": {}, "resources": []}'
    )

    with (
        contextlib.closing(made.azure.client(made.bucket)) as client,
        running(made.start_tfguard("--lock-timeout=10m", *APPLY, TFGUARD_TERRAFORM=slow, **QUICK_BEATS)) as ours,
    ):
        eventually(lambda: asked(made) == 1, 30, "our child's start")
        guard = json.loads(made.azure.body(made.bucket, f".tfguard/{made.key}.lock"))
        looks = {name: guard[name.capitalize()] for name in ("who", "version", "created", "path")}
        StateLease(client, made.key).take(LockInfo(id=str(uuid.uuid4()), operation="init", **looks))
        (made.path / "go").touch()
        result = ours.end()

    assert result.code == 0, str(result)
    assert made.leftovers() == []


def test_ctrl_c_and_a_killed_child_leave_neither_lock(stage: Make) -> None:
    made = stage("azurerm", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        ours.process.send_signal(signal.SIGINT)
        ours.wait_for("Interrupt received")
        made.open_gate()
        stopped = ours.end()
    after_stop = made.leftovers()
    (made.path / "gate").unlink()
    with running(made.start_tfguard(*APPLY)) as ours:
        made.wait_for_log("begin", 2)
        tree = psutil.Process(ours.pid).children(recursive=True)
        terraform = next(each for each in tree if os.path.basename(each.exe()).startswith("terraform"))
        terraform.kill()
        made.open_gate()
        killed = ours.end()

    assert stopped.code == -signal.SIGINT, str(stopped)
    assert after_stop == []
    assert killed.code == 137, str(killed)
    assert made.leftovers() == []


def test_a_new_workspace_and_a_saved_plan_need_nothing_of_their_own(stage: Make) -> None:
    made = stage("azurerm", text=STILL)

    first = made.tfguard(*APPLY, TF_WORKSPACE="new")
    planned = made.tfguard("plan", "-out=p", TF_WORKSPACE="new")
    applied = made.tfguard("apply", "p", TF_WORKSPACE="new")
    listed = made.terraform("workspace", "list")

    assert (first.code, planned.code, applied.code) == (0, 0, 0), f"{first}{planned}{applied}"
    assert made.resources("new") == ["terraform_data.a", "terraform_data.b"]
    assert [line.strip("* ") for line in listed.out.split("\n") if line] == ["default", "new"]
    assert made.leftovers() == []


def test_an_operator_sees_holds_and_examines_it(stage: Make) -> None:
    made = stage("azurerm", text=STILL)
    apply = made.tfguard(*APPLY)
    proof = made.tfguard("doctor", "--prove-lock")
    hold = made.tfguard("hold", "--for", "10m", "--reason", "maintenance")
    shown = inner_id(made)
    around = made.tfguard("status", "--backend")
    refused = made.terraform("plan", "-input=false", "-no-color")
    unlocked = made.tfguard("unlock", "--id", shown, "--yes")

    assert apply.code == 0, str(apply)
    assert proof.code == 0, str(proof)
    assert "Terraform itself is refused while we hold the lock" in proof.out + proof.err
    assert "reading, writing, deleting: allowed, and tried on a scratch record" in proof.out
    assert (hold.code, unlocked.code) == (0, 0), f"{hold}{unlocked}"
    assert f"{made.bucket}/{made.key}" in around.out
    assert refused.code == 1 and shown in refused.err
    assert made.leftovers() == []


def test_inside_an_exec_tfguard_runs_under_its_lock_and_each_terraform_under_one_of_its_own(stage: Make) -> None:
    """A state is written by whoever has its lease, and none can be handed on: so a plain one is let in too."""
    made = stage("azurerm", text=STILL)
    script = f"terraform plan -input=false && {shlex.join(TFGUARD)} --lock-timeout=0s {shlex.join(APPLY)}"

    result = made.tfguard("exec", "--", "sh", "-c", script)

    assert result.code == 0, str(result)
    assert made.resources() == ["terraform_data.a", "terraform_data.b"]
    assert made.leftovers() == []


def test_the_rights_that_a_state_needs_are_printed(stage: Make) -> None:
    made = stage("azurerm", text=STILL)

    printed = made.tfguard("bootstrap", "--print", "iam")

    assert printed.code == 0, str(printed)
    assert set(json.loads(printed.out)) == {"plan", "apply"}
    assert f"storageAccounts/{made.azure.account}/blobServices/default/containers/{made.bucket}" in printed.out


REFUSED = {
    "no container": (
        {"container_name": "no-such-container"},
        78,
        r"There is no such container for azblob://tfacct/no-",
    ),
    "another key": ({"access_key": "AAAA"}, 77, r"Azure denies reading \(AuthorizationFailure\): azblob://tfacct/"),
    "no base64": ({"access_key": "?"}, 78, r"The storage account's key is no base64"),
    "nobody": ({"access_key": None, "use_cli": False}, 77, r"There are no credentials for Azure"),
    "no cloud": ({"environment": "mars"}, 78, r"`environment` 'mars' is no cloud of Azure's"),
}


@pytest.mark.parametrize(("wrong", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_said_in_two_lines(stage: Make, wrong: dict[str, str], code: int, says: str) -> None:
    made = stage("azurerm", text=STILL)
    configure(made, **wrong)

    result = made.tfguard("--lock-timeout=0s", *APPLY)

    assert result.code == code, str(result)
    assert re.search(says, result.err), str(result)
    assert "Traceback" not in result.err
