"""Which directories `config init` takes for somebody's own, and what it makes of the files beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfguard.terraform.stacks import Stack, stacks

BACKEND = 'terraform {\n  backend "s3" {}\n}\n'


def lay(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or (BACKEND if name.endswith(".tf") else ""))


def found(root: Path) -> dict[str, Stack]:
    return {stack.directory.as_posix(): stack for stack in stacks(root)}


def test_a_directory_with_a_backend_counts_and_no_module_does(tmp_path: Path) -> None:
    lay(tmp_path, "live/app/main.tf", "live/net/main.tf", ".terraform/modules/x/main.tf", "node_modules/x/main.tf")
    lay(tmp_path, "modules/vpc/main.tf", text='variable "a" {}\n')

    assert list(found(tmp_path)) == ["live/app", "live/net"]


def test_a_cloud_block_and_a_tofu_file_count_too(tmp_path: Path) -> None:
    lay(tmp_path, "a/main.tf", text='terraform {\n  cloud { organization = "x" }\n}\n')
    lay(tmp_path, "b/main.tofu", text=BACKEND)

    assert {name: stack.backend for name, stack in found(tmp_path).items()} == {"a": "cloud", "b": "s3"}


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("dev.tfbackend", "dev"),
        ("dev.s3.tfbackend", "dev"),
        ("backend-dev.hcl", "dev"),
        ("dev.backend.hcl", "dev"),
        ("backend.dev.tfvars", "dev"),
        ("env/prod-eu.tfbackend", "prod-eu"),
        ("prod/backend.hcl", "prod"),
        ("backend.conf", ""),
    ],
)
def test_a_file_for_the_backend_is_known_by_its_name(name: str, environment: str, tmp_path: Path) -> None:
    lay(tmp_path, "net/main.tf", f"net/{name}")

    stack = found(tmp_path)["net"]

    assert stack.backend_files == {environment: Path("net", name)}
    assert not stack.var_files


def test_files_with_variables_are_known_but_for_those_that_terraform_reads_itself(tmp_path: Path) -> None:
    lay(
        tmp_path, "main.tf", "dev.tfvars", "env/prod.tfvars.json", "terraform.tfvars", "x.auto.tfvars", ".hidden.tfvars"
    )
    lay(tmp_path, "env/stage/terraform.tfvars", "frontend.hcl", ".terraform.lock.hcl")

    stack = found(tmp_path)["."]

    assert stack.var_files == {"dev": Path("dev.tfvars"), "prod": Path("env/prod.tfvars.json")}
    assert not stack.backend_files


def test_workspaces_are_known_where_they_are_folders(tmp_path: Path) -> None:
    lay(tmp_path, "main.tf", text='terraform {\n  backend "local" {}\n}\n')
    (tmp_path / "terraform.tfstate.d/dev").mkdir(parents=True)
    (tmp_path / "terraform.tfstate.d/not a name").mkdir(parents=True)

    assert found(tmp_path)["."].workspaces == ("dev",)


def test_a_link_leads_nowhere_and_a_name_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    lay(tmp_path, "a/main.tf")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "line\nbreak").mkdir()
    lay(tmp_path, "line\nbreak/main.tf")

    assert list(found(tmp_path)) == ["a"]
