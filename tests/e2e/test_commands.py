"""What every user does first: Terraform's commands under its own lock, on every backend."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import BACKENDS, Backend, Stage

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")

#: Two resources that stay as they are, so that a second apply changes nothing.
STILL = """
variable "word" {
  default = "one"
}
resource "terraform_data" "a" {
  input = var.word
}
resource "terraform_data" "b" {
  input = "b"
}
output "word" {
  value = terraform_data.a.output
}
"""

#: What was done before (by plain Terraform), and the command: each must do exactly what plain Terraform does.
COMMANDS: dict[str, tuple[list[tuple[str, ...]], tuple[str, ...]]] = {
    "plan": ([APPLY], ("plan", "-input=false")),
    "apply": ([], APPLY),
    "apply-replace": ([APPLY], (*APPLY, "-replace=terraform_data.b")),
    "apply-target": ([], (*APPLY, "-target=terraform_data.b")),
    "apply-variable": ([APPLY], (*APPLY, "-var", "word=two")),
    "apply-refresh-only": ([APPLY], ("apply", "-refresh-only", "-auto-approve")),
    "destroy": ([APPLY], ("destroy", "-auto-approve")),
    "import": ([], ("import", "-input=false", "terraform_data.a", "some-id")),
    "refresh": ([APPLY], ("refresh", "-var=word=three")),
    "taint": ([APPLY], ("taint", "terraform_data.a")),
    "untaint": ([APPLY, ("taint", "terraform_data.a")], ("untaint", "terraform_data.a")),
    "state-mv": ([APPLY], ("state", "mv", "terraform_data.b", "terraform_data.moved")),
    "state-rm": ([APPLY], ("state", "rm", "terraform_data.b")),
    "state-replace-provider": (
        [APPLY],
        ("state", "replace-provider", "-auto-approve", "terraform.io/builtin/terraform", "hashicorp/other"),
    ),
}


def shape(made: Stage) -> Any:
    """
    The state, less what is drawn by lot: the lineage and the resources' IDs.

    On a local backend Terraform saves whenever a resource is done, so that the serial too depends on which of them
    are done at the same instant.
    """
    state = made.state()
    if state is None:
        return None
    assert state["lineage"]
    assert state["serial"] > 0
    drawn = {"lineage": ""} | ({"serial": 0} if made.backend == "local" else {})
    text = json.dumps({**state, **drawn}, sort_keys=True)
    for resource in state["resources"]:
        for instance in resource["instances"]:
            text = text.replace(instance["attributes"]["id"], "ID")
    return json.loads(text)


def assert_nothing_left(made: Stage) -> None:
    assert made.leftovers() == []
    assert made.wrong_digests() == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_apply_writes_the_state_and_leaves_no_lock(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    result = made.tfguard("apply", "-auto-approve")

    assert result.code == 0, str(result)
    assert "Apply complete! Resources: 1 added" in result.out
    assert made.resources() == ["terraform_data.work"]
    assert made.locks() == []
    assert "outcome=succeeded" in result.err


#: Every command where two locks are held for it; the kernel's lock is the same for all of them.
CASES = [*(("both", name) for name in COMMANDS), *(("local", name) for name in ("destroy", "import", "state-mv"))]


@pytest.mark.parametrize(("backend", "name"), CASES)
def test_a_command_under_our_lock_does_what_plain_terraform_does(stage: Make, backend: Backend, name: str) -> None:
    before, command = COMMANDS[name]
    plain, guarded = stage(backend, text=STILL, name="plain"), stage(backend, text=STILL, name="guarded")
    for words in before:
        assert plain.terraform(*words).code == guarded.terraform(*words).code == 0

    expected, result = plain.terraform(*command), guarded.tfguard(*command)

    assert expected.code == result.code == 0, str(result)
    assert ": locked" in result.err
    assert shape(guarded) == shape(plain)
    assert_nothing_left(guarded)


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_state_lives_from_apply_to_destroy(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    applied = made.tfguard(*APPLY)
    serial = (made.state() or {})["serial"]
    destroyed = made.tfguard("destroy", "-auto-approve")

    assert (applied.code, destroyed.code) == (0, 0), f"{applied}{destroyed}"
    assert made.resources() == []
    assert (made.state() or {})["serial"] > serial
    assert_nothing_left(made)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_the_exit_status_of_a_detailed_plan_is_terraforms(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    plan = ("plan", "-detailed-exitcode", "-input=false")

    changed = made.tfguard(*plan)
    failed = made.tfguard(*plan, "-var=nosuch=1")
    made.terraform(*APPLY)
    unchanged = made.tfguard(*plan)

    assert (changed.code, failed.code, unchanged.code) == (2, 1, 0)
    assert "outcome=succeeded" in changed.err
    assert "outcome=failed" in failed.err
    assert "outcome=succeeded" in unchanged.err
    assert_nothing_left(made)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_state_push_does_what_plain_terraform_does(stage: Make, backend: Backend) -> None:
    plain, guarded = stage(backend, text=STILL, name="plain"), stage(backend, text=STILL, name="guarded")
    for made in (plain, guarded):
        made.terraform(*APPLY)
        state = made.state() or {}
        pushed = {**state, "serial": state["serial"] + 7, "resources": state["resources"][:1]}
        (made.path / "pushed.tfstate").write_text(json.dumps(pushed))
    command = ("state", "push", "pushed.tfstate")

    expected, result = plain.terraform(*command), guarded.tfguard(*command)

    assert expected.code == result.code == 0, str(result)
    assert guarded.resources() == ["terraform_data.a"]
    assert shape(guarded) == shape(plain)
    assert_nothing_left(guarded)


def test_a_failed_apply_keeps_what_was_created_and_leaves_no_lock(stage: Make) -> None:
    text = STILL + 'resource "terraform_data" "bad" {\n  provisioner "local-exec" {\n    command = "exit 3"\n  }\n}\n'
    made = stage("both", text=text)

    result = made.tfguard(*APPLY)

    assert result.code == 1, str(result)
    assert "exit status 3" in result.out + result.err
    assert "terraform_data.a" in made.resources()
    assert "outcome=failed" in result.err
    assert_nothing_left(made)


# --- workspaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["both", "local"])
def test_a_workspace_lives_from_new_to_delete(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    for words in (("workspace", "new", "stage"), APPLY, ("destroy", "-auto-approve")):
        result = made.tfguard(*words)
        assert result.code == 0, str(result)
    selected = made.tfguard("workspace", "select", "default")
    deleted = made.tfguard("workspace", "delete", "stage")

    assert (selected.code, deleted.code) == (0, 0), str(deleted)
    assert made.terraform("workspace", "list").out.split() == ["*", "default"]
    assert made.state("stage") is None
    assert made.state() is None
    assert_nothing_left(made)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_workspace_delete_takes_the_lock_of_the_workspace_it_names(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    made.terraform("workspace", "new", "doomed")
    made.terraform("workspace", "select", "default")

    result = made.tfguard("--log-format", "json", "workspace", "delete", "doomed")

    assert result.code == 0, str(result)
    assert "doomed" in finished(result.err)["label"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_workspace_that_does_not_exist_yet_is_created_without_a_deadlock(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    result = made.tfguard(*APPLY, TF_WORKSPACE="fresh")

    assert result.code == 0, str(result)
    assert made.resources("fresh") == ["terraform_data.a", "terraform_data.b"]
    assert made.state() is None
    assert_nothing_left(made)


def finished(err: str) -> dict[str, Any]:
    """The `run.finished` event among JSON lines."""
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    return next(event for event in events if event["event"] == "run.finished")


# --- saved plans ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["both", "local"])
def test_a_saved_plan_is_applied_and_is_stale_afterwards(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)

    planned = made.tfguard("plan", "-out=tfplan", "-input=false")
    applied = made.tfguard("apply", "-input=false", "tfplan")
    serial = (made.state() or {})["serial"]
    again = made.tfguard("apply", "-input=false", "tfplan")

    assert (planned.code, applied.code, again.code) == (0, 0, 1), f"{planned}{applied}{again}"
    assert "Saved plan is stale" in again.err + again.out
    assert "plan-stale: the state has changed since this plan was made" in again.err
    assert "Since then: " in again.err and "(apply, succeeded, " in again.err
    assert (made.state() or {})["serial"] == serial
    assert_nothing_left(made)


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_saved_plan_is_applied_under_the_lock_that_the_plan_names(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=STILL)
    made.terraform("plan", "-out=tfplan", "-input=false")
    made.key, planned_key = "other/terraform.tfstate", made.key
    made.write(STILL)
    made.terraform("init", "-reconfigure", "-input=false")

    result = made.tfguard("--log-format", "json", "apply", "-input=false", "tfplan")

    assert result.code == 0, str(result)
    assert finished(result.err)["label"] == f"{made.bucket}/{planned_key}"
    assert made.state() is None
    assert made.s3.body(made.bucket, planned_key) is not None
    assert_nothing_left(made)


# --- where it is called from ----------------------------------------------------------------------------------------


def test_chdir_works_in_both_spellings(stage: Make) -> None:
    made = stage("s3", text=STILL)
    made.terraform(*APPLY)
    words = ("plan", "-detailed-exitcode", "-input=false")
    outside, made.path = made.path.name, made.path.parent

    joined = made.tfguard(f"-chdir={outside}", *words)
    apart = made.tfguard("--chdir", outside, *words)

    assert (joined.code, apart.code) == (0, 0), f"{joined}{apart}"
    assert ": locked" in joined.err and ": locked" in apart.err


def test_a_data_directory_of_ones_own_is_found(stage: Make) -> None:
    made = stage("both", text=STILL, is_initialised=False)
    made.environ["TF_DATA_DIR"] = os.path.join("deep", "data")
    made.init()

    result = made.tfguard(*APPLY)

    assert result.code == 0, str(result)
    assert ": locked" in result.err
    assert_nothing_left(made)
