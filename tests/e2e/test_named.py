"""A lock of one's own name, on a machine that has no Terraform: nothing about it needs one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Gcs
from tests.e2e.conftest import Result, Stage, base_environ


@pytest.fixture
def bare(tmp_path: Path) -> Stage:
    """An empty directory, and a PATH with a few programs, of which none is Terraform."""
    programs, made = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir()
    made.mkdir()
    for name in ("sh", "true"):
        (programs / name).symlink_to(shutil.which(name) or name)
    return Stage(made, "local", environ={**base_environ(tmp_path), "PATH": str(programs)})


def _in_a_file(bare: Stage) -> list[str]:
    return ["--name", "deploy", "--store", f"file://{bare.path.parent}/locks"]


def test_every_command_about_a_named_lock_works_without_terraform(bare: Stage, gcs: Gcs) -> None:
    store = f"gs://{gcs.bucket()}/locks?endpoint={gcs.endpoint}"
    bare.environ["GOOGLE_OAUTH_ACCESS_TOKEN"] = "token"

    def ask(command: str, *rest: str) -> Result:
        return bare.tfguard(command, "--name", "deploy", "--store", store, *rest)

    ran = ask("exec", "--", "sh", "-c", "echo it ran")
    held = ask("hold", "--reason", "moving the subnets")
    unnamed = ask("unlock", "--yes")
    status = ask("status", "--json")
    unlocked = ask("unlock", "--yes", "--id", json.loads(status.out)["locks"][0]["id"])
    history = ask("history")

    for result in (ran, held, status, unlocked, history):
        assert result.code == 0, str(result)
    assert ran.out == "it ran\n"
    assert (unnamed.code, "--yes needs --id" in unnamed.err, "terminal" in unnamed.err) == (64, True, False), (
        unnamed.err
    )
    assert "(exit 0)" in history.out
    assert list(bare.path.iterdir()) == []


def test_a_failure_that_is_known_ends_with_its_cure_in_a_job_without_a_page(bare: Stage) -> None:
    script = "echo data; printf '│ Error: Backend configuration changed\\n╵\\n' >&2; exit 1"

    result = bare.tfguard("exec", *_in_a_file(bare), "--", "sh", "-c", script)

    assert (result.code, result.out) == (1, "data\n"), str(result)
    assert result.err.splitlines()[-1].startswith("deploy: The backend has changed: tfguard init -migrate-state")


@pytest.mark.parametrize("words", [["hold", "--reason", "moving"], ["unlock", "--yes"]], ids=lambda it: it[0])
def test_a_lock_in_a_file_is_nobodys_by_hand(bare: Stage, words: list[str]) -> None:
    """It ends with whoever has it: a hold would have ended as it was said."""
    result = bare.tfguard(*words, *_in_a_file(bare))

    assert (result.code, result.out) == (64, ""), str(result)
    assert "deploy: " in result.err and " ends with " in result.err
    assert "--name deploy --store file:///" in result.err


def test_what_a_terraform_inside_could_not_save_is_kept_where_nothing_can_push_it(bare: Stage) -> None:
    ran = bare.tfguard("exec", *_in_a_file(bare), "--", "sh", "-c", "echo '{\"serial\": 1}' > errored.tfstate; exit 1")

    assert ran.code == 1, str(ran)
    assert (bare.path / "errored.tfstate").exists(), str(ran)
    assert "errored.tfstate" in ran.err, str(ran)
