"""A real Terraform in a workspace of HCP Terraform: with runs that are executed here, and with ones that are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Stage, base_environ
from tests.e2e.native import APPLY, QUICK_BEATS
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.support import trees
from tests.support.authority import Authority
from tests.support.eventually import eventually
from tests.support.hcp_server import Hcp, Workspace, hcp_serving

pytestmark = pytest.mark.e2e


@pytest.fixture
def hcp(tmp_path: Path) -> Iterator[Hcp]:
    authority = Authority(tmp_path)
    with hcp_serving(authority) as hcp:
        yield hcp


@pytest.fixture
def made(hcp: Hcp, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., tuple[Stage, Workspace]]:
    """Make a directory that was initialised for a workspace; the lease lies on Google's storage."""

    def make(text: str, mode: str = "local", kind: str = "cloud") -> tuple[Stage, Workspace]:
        workspace = hcp.add("app-prod", mode)
        path = tmp_path / "stage"
        path.mkdir()
        config = tmp_path / "terraformrc"
        config.write_text(f'credentials "{hcp.host}" {{\n  token = "token-of-ana"\n}}\n')
        environ = dict(base_environ(tmp_path))
        environ |= {"SSL_CERT_FILE": str(tmp_path / "authority.pem"), "TF_CLI_CONFIG_FILE": str(config)}
        stage = Stage(path, "local", environ)
        stage.write(text)
        block = f'hostname = "{hcp.host}"\n organization = "acme"\n workspaces {{\n name = "app-prod"\n }}'
        wrapped = f"cloud {{\n {block}\n }}" if kind == "cloud" else f'backend "remote" {{\n {block}\n }}'
        (path / "backend.tf").write_text(f"terraform {{\n {wrapped}\n}}\n")
        if mode == "local":
            gcs = request.getfixturevalue("gcs")
            stage.environ["GOOGLE_OAUTH_ACCESS_TOKEN"] = "token"
            store = f"gs://{gcs.bucket()}/locks?endpoint={gcs.endpoint}"
            (path / "tfguard.yml").write_text(f"version: 1\ndefaults:\n  lock:\n    store: {store}\n")
        return stage.init(), workspace

    return make


def state_of(workspace: Workspace) -> dict[str, object]:
    found: dict[str, object] = json.loads(workspace.states[workspace.versions[-1]["id"]])
    return found


@pytest.mark.parametrize("kind", ["cloud", pytest.param("remote", marks=pytest.mark.long)])
def test_terraforms_commands_run_under_our_lock_from_the_first_run_on(
    made: Callable[..., tuple[Stage, Workspace]], kind: str
) -> None:
    stage, workspace = made(STILL, kind=kind)
    commands = [
        APPLY,
        ("plan", "-input=false", "-out=p"),
        ("apply", "-input=false", "p"),
        ("state", "mv", "terraform_data.b", "terraform_data.moved"),
        ("destroy", "-auto-approve"),
    ]

    results = [stage.tfguard(*words) for words in commands]

    assert [result.code for result in results] == [0] * len(commands), "\n".join(map(str, results))
    assert state_of(workspace)["resources"] == []
    assert workspace.locked_by == ""


def test_a_plain_terraform_is_refused_and_the_reason_tells_who_holds_it(
    made: Callable[..., tuple[Stage, Workspace]],
) -> None:
    stage, workspace = made(GATED)

    with running(stage.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(stage)
        reason = workspace.reason
        shown = json.loads(stage.tfguard("status", "--json").out)["locks"]
        refused = stage.terraform("plan", "-input=false", "-no-color")
        stage.open_gate()
        result = ours.end()

    assert refused.code == 1
    assert result.code == 0, str(result)
    assert reason.startswith(f"tfguard {shown[0]['id']}: ")
    assert "apply" in reason
    assert [each["verdict"] for each in shown] == ["alive"]
    assert workspace.locked_by == ""


def test_after_a_kill_of_all_of_a_run_the_next_takes_exactly_its_lock_over(
    made: Callable[..., tuple[Stage, Workspace]],
) -> None:
    stage, workspace = made(GATED)
    process = stage.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    stage.wait_for_log("begin")
    kill_all_of(process)
    still = workspace.reason
    stage.open_gate()

    result = stage.tfguard(*APPLY)

    assert still.startswith("tfguard ")
    assert result.code == 0, str(result)
    assert workspace.locked_by == ""


def test_an_operator_sees_holds_and_examines_it(made: Callable[..., tuple[Stage, Workspace]], hcp: Hcp) -> None:
    stage, workspace = made(STILL)

    held = stage.tfguard("hold", "--for", "1h", "--reason", "maintenance")
    reason = workspace.reason
    shown = json.loads(stage.tfguard("status", "--json").out)["locks"]
    around = stage.tfguard("status", "--backend", "--json")
    plain = stage.terraform("plan", "-input=false", "-no-color")
    busy = stage.tfguard("--lock-timeout=0s", "plan", "-input=false")
    unlocked = stage.tfguard("unlock", "--id", shown[0]["id"], "--yes", "--reason", "done")
    applied = stage.tfguard(*APPLY)
    proved = stage.tfguard("doctor", "--prove-lock", "--json")
    findings = {each["check"]: each for each in json.loads(proved.out)["findings"]}
    bootstrap, history = stage.tfguard("bootstrap"), stage.tfguard("history")

    assert (held.code, unlocked.code, applied.code) == (0, 0, 0), f"{held}{unlocked}{applied}"
    assert [each["verdict"] for each in shown] == ["hold"]
    assert shown[0]["id"] in reason and "maintenance" in reason
    assert around.code == 0, str(around)
    assert "acme/app-prod" in {each["label"] for each in json.loads(around.out)}
    assert (plain.code, busy.code) == (1, 75), f"{plain}{busy}"
    assert proved.code == 0, str(proved)
    names = ("token", "API", "workspace", "permissions", "store", "store queue", "proof")
    assert {findings[name]["mark"] for name in names} == {"ok"}, str(proved)
    assert str(stage.path.parent / "terraformrc") in findings["token"]["says"]
    assert (bootstrap.code, "there is nothing to create" in bootstrap.out) == (0, True), str(bootstrap)
    assert "succeeded" in history.out and "unlocked by" in history.out, str(history)
    assert workspace.locked_by == ""


@pytest.mark.long
def test_the_late_write_of_a_superseded_run_is_taken_while_the_next_one_holds_the_lock(
    made: Callable[..., tuple[Stage, Workspace]],
) -> None:
    """As it is: HCP Terraform knows tokens, not lock IDs. docs/reference/backends.md says so."""
    stage, workspace = made(GATED)
    process = stage.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    stage.wait_for_log("begin")
    front = psutil.Process(process.pid)
    tree = [front, *front.children(recursive=True)]
    terraform = next(each for each in tree if each.name() == "terraform")
    trees.suspend(tree)
    frozen = workspace.reason

    with running(stage.start_tfguard(*APPLY)) as second:
        stage.wait_for_log("begin", 2, 60)
        taken = workspace.reason
        trees.kill(each for each in tree if each != terraform)  # Nobody is left who would keep it from writing.
        stage.open_gate()
        terraform.resume()
        eventually(lambda: workspace.versions, 60, "a late write")
        result = second.end(timeout=120)
    process.communicate(timeout=60)

    assert frozen.startswith("tfguard ") and taken.startswith("tfguard ") and frozen != taken
    assert len(workspace.versions) == 1, "the other of the two writes came with a serial that was taken by then"
    assert result.code in (0, 1), str(result)
    assert workspace.locked_by == ""


def test_a_lock_that_somebody_else_holds_is_shown_and_left_alone(
    made: Callable[..., tuple[Stage, Workspace]],
) -> None:
    stage, workspace = made(STILL)
    workspace.locked_by, workspace.reason = "user-bob", "Locked by Terraform"

    busy = stage.tfguard("--lock-timeout=0s", *APPLY)

    assert busy.code == 75, str(busy)
    assert "user-bob" in busy.err
    assert (workspace.locked_by, workspace.reason) == ("user-bob", "Locked by Terraform")


@pytest.mark.parametrize("mode", ["remote", "agent"])
def test_runs_that_hcp_executes_are_passed_through_and_never_locked(
    made: Callable[..., tuple[Stage, Workspace]], hcp: Hcp, mode: str
) -> None:
    stage, workspace = made(STILL, mode)

    result = stage.tfguard("state", "list")
    listed = stage.tfguard("taint", "terraform_data.a")
    doctor = stage.tfguard("doctor")
    expecting = stage.tfguard("--expect", f"p1-{'0' * 40}", "apply", "-auto-approve")

    assert "HCP Terraform executes these runs, one after the other" in listed.err, str(listed)
    assert (expecting.code, expecting.out, "HCP Terraform executes these runs" in expecting.err) == (78, "", True), str(
        expecting
    )
    assert (doctor.code, "HCP Terraform executes these runs" in doctor.out) == (0, True), str(doctor)
    assert workspace.reason == ""
    assert not any("tfguard" in request for request in hcp.log)
    assert result.code in (0, 1)


def test_without_a_token_or_a_store_nothing_begins(made: Callable[..., tuple[Stage, Workspace]]) -> None:
    stage, workspace = made(STILL)
    (stage.path / "tfguard.yml").unlink()

    no_store = stage.tfguard(*APPLY)
    no_token = stage.tfguard(*APPLY, TF_CLI_CONFIG_FILE="/dev/null")

    assert no_store.code == 78
    assert "store: s3://my-bucket/tfguard" in no_store.err
    assert no_token.code == 77, str(no_token)
    assert "terraform login" in no_token.err
    assert workspace.locked_by == ""
