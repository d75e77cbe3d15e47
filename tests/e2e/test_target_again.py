"""What is locked is what is written, whatever is edited in the directory while a run waits for its lock."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import TFGUARD, Backend, Stage
from tests.e2e.running import Running, running
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]

#: The state tells which workspace Terraform took it for, and which backend key the run was started with.
TEXT = """
resource "terraform_data" "it" {
  input = terraform.workspace
}
"""
APPLY = ("apply", "-auto-approve", "-input=false")
HELD_BY = "is held by"


@contextmanager
def held(made: Stage, *words: str, **environ: str) -> Iterator[Callable[[], None]]:
    """Hold the lock that a run of tfguard with `words` before its command would take, until the callable is called."""
    go, has = made.path / "go", made.path / "has"
    script = f"touch {has}; until test -e {go}; do sleep 0.02; done"
    with running(made.start_tfguard(*words, "exec", "--", "sh", "-c", script, **environ)) as holder:
        eventually(has.exists, 30, "the lock")

        def release() -> None:
            go.touch()
            assert holder.end().code == 0

        yield release
        go.touch()


@contextmanager
def waiting(made: Stage, *words: str, **environ: str) -> Iterator[Running]:
    """A run that waits for the lock."""
    with running(made.start_tfguard(*words, **environ)) as waiter:
        waiter.wait_for(HELD_BY)
        yield waiter


def locked(text: str) -> list[str]:
    """The labels of the locks that were taken, in their order."""
    return re.findall(r"^(\S+): locked", text, re.MULTILINE)


def content(made: Stage, workspace: str) -> list[str]:
    """What was applied to a workspace's state."""
    state = made.state(workspace) or {}
    return [each["attributes"]["input"]["value"] for one in state.get("resources", []) for each in one["instances"]]


def late(made: Stage, edit: str) -> str:
    """A Terraform that comes late: between our last look and its own, somebody makes this edit."""
    program = made.path / "late-terraform"
    program.write_text(f'#!/bin/sh\ncase "$*" in *apply*) {edit} ;; esac\nexec terraform "$@"\n')
    program.chmod(0o755)
    return str(program)


def with_workspaces(made: Stage) -> Stage:
    for name in ("prod", "dev"):
        result = made.terraform("workspace", "new", name)
        assert result.code == 0, str(result)
    return made


# --- A1: the workspace ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "local"])
def test_a_workspace_that_is_selected_meanwhile_is_locked_before_it_is_written(stage: Make, backend: Backend) -> None:
    made = with_workspaces(stage(backend, text=TEXT))

    with held(made) as release, waiting(made, *APPLY) as waiter:
        assert made.terraform("workspace", "select", "prod").code == 0
        release()
        result = waiter.end()

    assert result.code == 0, str(result)
    assert "the workspace is prod now, no longer dev: giving back the lock and starting over" in result.err
    assert (content(made, "dev"), content(made, "prod")) == ([], ["prod"])
    assert ["dev" in label or "prod" in label for label in locked(result.err)] == [True, True]
    assert "prod" in locked(result.err)[-1]
    assert made.leftovers() == []


def test_terraform_gets_the_workspace_that_is_locked(stage: Make) -> None:
    """Somebody selects another between our second look and Terraform's own."""
    made = with_workspaces(stage("local", text=TEXT))

    result = made.tfguard("--terraform", late(made, "printf prod > .terraform/environment"), *APPLY)

    assert result.code == 0, str(result)
    assert (content(made, "dev"), content(made, "prod")) == (["dev"], [])


def test_deleting_a_workspace_needs_no_variable(stage: Make) -> None:
    made = with_workspaces(stage("local", text=TEXT))

    result = made.tfguard("workspace", "delete", "prod")

    assert result.code == 0, str(result)


def test_a_tfguard_that_a_provisioner_starts_elsewhere_looks_for_itself(stage: Make) -> None:
    made, other = stage("local", text="", name="one"), with_workspaces(stage("local", text=TEXT, name="two"))
    command = shlex.join([*TFGUARD, f"-chdir={other.path}", "workspace", "show"])
    made.write(
        'resource "terraform_data" "it" {\n  provisioner "local-exec" {\n'
        f'    command = "echo $TF_WORKSPACE >> log; {command} >> log"\n  }}\n}}\n'
    )

    result = made.tfguard(*APPLY)

    assert result.code == 0, str(result)
    assert made.log_lines() == ["default", "dev"]


# --- A2: the backend ------------------------------------------------------------------------------------------------


def test_a_backend_that_is_initialised_meanwhile_is_locked_before_it_is_written(stage: Make) -> None:
    made = stage("both", text=TEXT, is_initialised=False)
    block = made.backend_block()
    (made.path / "backend.tf").write_text("".join(line for line in block.splitlines(True) if "  key " not in line))
    assert made.terraform("init", "-input=false", "-backend-config=key=dev").code == 0

    with held(made) as release, waiting(made, *APPLY) as waiter:
        changed = made.terraform("init", "-input=false", "-reconfigure", "-backend-config=key=prod")
        assert changed.code == 0, str(changed)
        release()
        result = waiter.end()

    assert result.code == 0, str(result)
    assert "initialised for another backend now" in result.err
    assert [key for key in made.objects() if ".tfguard" not in key] == ["prod"]
    assert locked(result.err)[-1] == f"{made.bucket}/prod"
    assert made.leftovers() == []


# --- A3: the plan file ----------------------------------------------------------------------------------------------


@pytest.fixture
def plans(stage: Make) -> tuple[Stage, Path]:
    """A directory with a plan, and the plan of another stack."""
    made, other = stage("local", text=TEXT, name="dev"), stage("local", text=TEXT, name="prod")
    for each in (made, other):
        (each.path / "backend.tf").write_text(
            f'terraform {{\n  backend "local" {{\n    path = "{each.path / each.path.name}.tfstate"\n  }}\n}}\n'
        )
        each.init()
        result = each.terraform("plan", "-out=tfplan")
        assert result.code == 0, str(result)
    return made, other.path / "tfplan"


def test_a_plan_that_is_replaced_meanwhile_is_locked_before_it_is_applied(plans: tuple[Stage, Path]) -> None:
    made, other = plans

    with held(made) as release, waiting(made, "apply", "tfplan") as waiter:
        shutil.copyfile(other, made.path / "tfplan")
        release()
        result = waiter.end()

    assert result.code == 0, str(result)
    assert "the plan file is another one now" in result.err
    assert "prod" in locked(result.err)[-1]
    assert (
        not (made.path / "dev.tfstate").exists() or not json.loads((made.path / "dev.tfstate").read_text())["resources"]
    )
    assert (other.parent / "prod.tfstate").exists()


def test_terraform_applies_the_plan_that_was_looked_at(plans: tuple[Stage, Path]) -> None:
    made, other = plans

    result = made.tfguard("--terraform", late(made, f"cp {other} tfplan"), "apply", "tfplan")

    assert result.code == 0, str(result)
    assert (made.path / "dev.tfstate").exists()
    assert not (other.parent / "prod.tfstate").exists()


# --- A4, A5: the directory ------------------------------------------------------------------------------------------


@pytest.fixture
def stacks(stage: Make, tmp_path: Path) -> Stage:
    """Two stacks, `dev` and `prod`, and a link `current` to the first; programs start beside them."""
    for name in ("dev", "prod"):
        stage("local", text=TEXT, name=name)
    made = stage("local", text="", name="here")
    (made.path / "main.tf").unlink()
    (made.path / "current").symlink_to(tmp_path / "dev")
    return made


def switch(link: Path, to: Path) -> None:
    fresh = link.with_name("fresh")
    fresh.symlink_to(to)
    fresh.rename(link)


def test_a_link_that_is_switched_meanwhile_is_followed_before_the_lock_is_used(stacks: Stage, tmp_path: Path) -> None:
    with held(stacks, "-chdir=current") as release, waiting(stacks, "-chdir=current", *APPLY) as waiter:
        switch(stacks.path / "current", tmp_path / "prod")
        release()
        result = waiter.end()

    assert result.code == 0, str(result)
    assert "the directory is another one now" in result.err
    written = [(tmp_path / name / "terraform.tfstate").exists() for name in ("dev", "prod")]
    assert written == [False, True]


def test_terraform_works_in_the_directory_that_was_looked_at(stacks: Stage, tmp_path: Path) -> None:
    edit = f"ln -sfn {tmp_path / 'prod'} current"

    result = stacks.tfguard("--terraform", late(stacks, edit), "-chdir=current", *APPLY)

    assert result.code == 0, str(result)
    written = [(tmp_path / name / "terraform.tfstate").exists() for name in ("dev", "prod")]
    assert written == [True, False]


def test_a_way_up_from_behind_a_link_is_the_kernels(stage: Make, tmp_path: Path) -> None:
    made = stage("local", text=TEXT)
    behind = tmp_path / "elsewhere"
    (behind / "deep").mkdir(parents=True)
    shutil.copytree(made.path, behind / "stack")
    shutil.copytree(made.path, made.path / "stack", ignore=lambda *_: ["stack"])
    (made.path / "link").symlink_to(behind / "deep")

    with held(made, "-chdir=link/../stack"):
        plain = stage_at(made, behind / "stack").terraform(*APPLY)

    assert plain.code == 1 and "Error acquiring the state lock" in plain.err, str(plain)


def stage_at(made: Stage, path: Path) -> Stage:
    return Stage(path, made.backend, made.environ)


# --- A6: values in the environment ----------------------------------------------------------------------------------


def test_a_pipeline_whose_backend_is_in_the_environment_writes_where_that_says(stage: Make) -> None:
    made = stage("both", text=TEXT, is_initialised=False)
    block = made.backend_block()
    (made.path / "backend.tf").write_text("".join(line for line in block.splitlines(True) if "  key " not in line))
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  it: {approve: auto}\n")

    results = [
        made.tfguard("-p", "it", *APPLY, TF_CLI_ARGS_init=f"-backend-config=key={name}") for name in ("dev", "prod")
    ]

    assert [result.code for result in results] == [0, 0], f"{results[0]}{results[1]}"
    assert "initialised for another backend (key is dev, wanted prod)" in results[1].err
    assert sorted(key for key in made.objects() if ".tfguard" not in key) == ["dev", "prod"]


# --- the steps of a pipeline ----------------------------------------------------------------------------------------


def test_nothing_is_applied_where_another_workspace_is_selected_after_the_plan(stage: Make) -> None:
    made = with_workspaces(stage("local", text=TEXT))
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  it: {approve: auto}\n")
    program = made.path / "early-terraform"
    program.write_text(
        '#!/bin/sh\nterraform "$@"; code=$?\n'
        'case "$1" in plan) printf prod > .terraform/environment ;; esac\nexit $code\n'
    )
    program.chmod(0o755)

    result = made.tfguard("--terraform", str(program), "run", "it")

    assert result.code == 78, str(result)
    assert "the workspace is prod now, no longer dev: what is locked is not what would be written" in result.err
    assert (content(made, "dev"), content(made, "prod")) == ([], [])
    assert made.leftovers() == []


# --- a workspace that is missing ------------------------------------------------------------------------------------


def test_a_missing_workspace_is_created_where_chdir_leads(stage: Make, tmp_path: Path) -> None:
    made = stage("both", text=TEXT, name="infra")
    beside = Stage(tmp_path, made.backend, made.environ)

    result = beside.tfguard("-chdir=infra", *APPLY, TF_WORKSPACE="new")

    assert result.code == 0, str(result)
    assert content(made, "new") == ["new"]
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("workspace", "values"),
    [
        ("new", {"workspace_key_prefix": '"a//b"'}),
        ("new", {"workspace_key_prefix": '"./a"'}),
        ("..", {}),
        ("new", {"key": '"./x"'}),
    ],
)
def test_a_workspace_that_terraform_never_finds_is_refused_at_once(
    stage: Make, workspace: str, values: dict[str, str]
) -> None:
    made = stage("s3", text=TEXT, is_initialised=False)
    made.write(TEXT, **values)
    made.init()

    result = made.tfguard("plan", "-input=false", TF_WORKSPACE=workspace)
    listed = [made.terraform(*APPLY, TF_WORKSPACE=workspace), made.terraform("workspace", "list")]

    assert result.code == 78, str(result)
    assert f"never finds workspace {workspace} again" in result.err
    assert [each.code for each in listed] == [0, 0], f"{listed[0]}{listed[1]}"
    assert workspace not in listed[1].out.split()  # Terraform has just applied to it.
