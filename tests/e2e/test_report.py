"""`--report FILE`: a run told in a file, on a laptop as in any CI."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import GATED, TFGUARD, Stage
from tests.e2e.operated import kill_front_of
from tests.e2e.running import running
from tests.report.page import Rendered
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
BUILDKITE = {
    "CI": "true",
    "BUILDKITE": "true",
    "BUILDKITE_BUILD_NUMBER": "7",
    "BUILDKITE_BUILD_URL": "https://ci.example/7",
    "BUILDKITE_JOB_ID": "j",
    "BUILDKITE_BUILD_CREATOR": "ana",
}


def facts(made: Stage, name: str = "r.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.path / name).read_text())
    return found


def page(made: Stage, name: str = "r.md") -> Rendered:
    return Rendered((made.path / name).read_text())


def test_one_run_is_told_in_both_forms_and_stdout_stays_terraforms(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("--report", "r.md", "--report=r.json", "plan", "-no-color", "-out=tfplan", **BUILDKITE)

    assert result.code == 0, str(result)
    assert page(made).all("summary") == ["terraform_data.work", "Terraform's output"]
    assert page(made).all("p")[0].startswith("ana@") and page(made).all("p")[0].endswith("Buildkite build 7")
    assert facts(made)["changes"]["resources"] == [{"action": "create", "address": "terraform_data.work"}]
    assert facts(made)["link"] == "https://ci.example/7#j"
    assert facts(made)["text"] == result.out.strip("\n")
    assert (made.path / "tfplan").exists()


def test_a_plan_in_another_directory_is_told_too(stage: Make) -> None:
    """Every further call of Terraform starts where the first one did: -chdir counts from there."""
    made = stage("local")
    above = replace(made, path=made.path.parent)

    result = above.tfguard(f"-chdir={made.path.name}", "--report", "r.json", "plan")

    assert result.code == 0, str(result)
    assert facts(above)["changes"]["resources"] == [{"action": "create", "address": "terraform_data.work"}]


IMPORT = 'import {\n  to = terraform_data.x\n  id = "x"\n}\nresource "terraform_data" "x" {}\n'


def test_a_plan_that_only_imports_has_changes_and_so_has_its_apply(stage: Make) -> None:
    made = stage("local", text=IMPORT)

    planned = made.tfguard("--report", "r.json", "plan", "-detailed-exitcode")
    plan = facts(made)["changes"]
    applied = made.tfguard("--report", "r.json", "apply", "-auto-approve", "-json")
    apply = facts(made)["changes"]

    assert (planned.code, applied.code) == (2, 0), str(planned)
    assert (plan["has_changes"], plan["import"], plan["add"]) == (True, 1, 0)
    assert (apply["is_done"], apply["import"], apply["add"]) == (True, 1, 0)


def test_the_resources_are_told_of_a_plan_that_nobody_saves(stage: Make) -> None:
    made = stage("local")
    scratch = made.path.parent / "scratch"
    scratch.mkdir()

    result = made.tfguard("--report", "r.json", "plan", TMPDIR=str(scratch))

    assert facts(made)["changes"]["resources"] == [{"action": "create", "address": "terraform_data.work"}]
    assert "Saved the plan" not in result.out
    assert list(scratch.iterdir()) == []


def test_a_person_is_not_recommended_a_plan_that_is_soon_gone(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("--report", "r.json", "plan", TF_IN_AUTOMATION="")

    assert "You didn't use the -out option" in result.out
    assert facts(made)["changes"]["add"] == 1
    assert facts(made)["changes"]["resources"] == []


def test_a_run_and_its_failure_are_told(stage: Make) -> None:
    made = stage("local")
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod:\n    approve: auto\n")
    (made.path / "main.tf").write_text('resource "terraform_data" "it" {\n  input = file("missing")\n}\n')

    result = made.tfguard("--report", "r.json", "run", "prod")

    assert result.code == 1, str(result)
    found = facts(made)
    assert (found["label"], found["outcome"], found["exit_code"]) == ("prod", "failed", 1)
    assert found["first_error"].startswith("Error: Invalid function argument")


def test_what_kept_a_run_from_starting_is_told(stage: Make) -> None:
    made = stage("local", is_initialised=False)

    result = made.tfguard("--report", "r.json", "-p", "prod", "apply")

    assert result.code == 78, str(result)
    assert (facts(made)["outcome"], facts(made)["exit_code"]) == ("config-error", 78)
    assert "no tfguard.yml here" in facts(made)["notes"][0]


@pytest.mark.parametrize("words", [("output", "-json"), ("validate",), ("version",)])
def test_commands_without_a_lock_are_told_and_print_what_they_print(stage: Make, words: tuple[str, ...]) -> None:
    made = stage("local")

    result = made.tfguard("--report", "r.json", *words)

    assert result.out == made.terraform(*words).out
    assert facts(made)["outcome"] == "succeeded"


def test_a_program_under_the_lock_is_told(stage: Make) -> None:
    made = stage("local")

    result = made.tfguard("--report", "r.json", "exec", "--", "sh", "-c", "echo deployed; exit 3")

    assert result.code == 3
    assert (facts(made)["outcome"], facts(made)["text"]) == ("failed", "deployed")


def test_on_a_terminal_the_text_is_shown_and_told(stage: Make) -> None:
    made = stage("local")
    words = [*TFGUARD[1:], "--report", "r.json", "apply", "-no-color"]

    terminal = pexpect.spawn(
        TFGUARD[0], words, cwd=str(made.path), env=made.environ, timeout=patience(10), encoding="utf-8"
    )
    terminal.expect("Enter a value: ")
    terminal.sendline("yes")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == 0
    assert "Apply complete!" in terminal.before
    assert "Apply complete!" in facts(made)["text"]


def test_after_a_kill_settle_writes_the_report(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard("--report", "r.json", "apply", "-auto-approve", "-no-color")) as apply:
        apply.wait_for_work(made)
        kill_front_of(apply.process)
        made.open_gate()
        settled = made.tfguard("settle", "--timeout", "60s")

    assert settled.code == 0, str(settled)
    assert (facts(made)["outcome"], facts(made)["exit_code"]) == ("orphaned", 137)
    assert "terraform_data.work: Creating..." in facts(made)["text"]


def test_an_interrupted_run_is_told(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard("--report", "r.json", "apply", "-auto-approve")) as apply:
        apply.wait_for_work(made)
        apply.process.send_signal(signal.SIGTERM)
        apply.end()

    assert (facts(made)["outcome"], facts(made)["exit_code"]) == ("interrupted", 143)


def test_a_report_has_the_mode_of_any_new_file_and_replaces_a_link_and_not_what_it_names(stage: Make) -> None:
    made = stage("local")
    (made.path / "elsewhere").mkdir()
    (made.path / "elsewhere/r.json").write_text("precious")
    os.symlink("elsewhere/r.json", made.path / "r.json")

    made.tfguard("--report", "r.json", "validate")

    umask = os.umask(0)
    os.umask(umask)
    whole = made.path / "r.json"
    assert whole.lstat().st_mode & 0o777 == 0o666 & ~umask
    assert not whole.is_symlink()
    assert facts(made)["label"]
    assert (made.path / "elsewhere/r.json").read_text() == "precious"


def test_a_report_that_cannot_be_written_in_the_end_costs_a_warning(stage: Make) -> None:
    made = stage(
        "local",
        text='resource "terraform_data" "it" {\n  provisioner "local-exec" {\n    command = "rmdir out"\n  }\n}\n',
    )
    (made.path / "out").mkdir()

    result = made.tfguard("--report", "out/r.md", "apply", "-auto-approve")

    assert result.code == 0, str(result)
    assert "report.failed" in result.err and "No such file or directory" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--report", "r.txt", "plan"], "--report r.txt: its name ends neither in .md nor in .json."),
        (["--report", "nowhere/r.md", "plan"], "there is no folder"),
        (["--report", "folder.md", "plan"], "--report folder.md is there, and is no file."),
        (["--report", "link.md", "plan"], "--report link.md is a link to terraform.tfstate, which is no report."),
        (["--report", "/proc/r.md", "plan"], "--report /proc/r.md: /proc cannot be written to: "),
        (["--report=", "plan"], "--report needs a value."),
        (["--report", "r.md", "--report-limit", "65k", "plan"], "--report-limit is '65k', and not 4000 bytes or more."),
        (["--report", "r.md", "--report-limit", "1", "plan"], "--report-limit is '1', and not 4000 bytes or more."),
        (["--report-limit", "65000", "plan"], "--report-limit goes with --report."),
        (["--report", "r.md", "status"], "--report tells of a run, and `status` runs nothing."),
        (["--report", "r.md", "--", "plan"], "--report tells of a run, and what follows -- runs untouched."),
        (["plan", "--report", "r.md"], "`--report` belongs before the command: tfguard --report r.md plan"),
        (["--reprot", "r.md", "plan"], "did you mean --report?"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(tmp_path: Path, stage: Make, words: list[str], said: str) -> None:
    made = stage("local", is_initialised=False)
    (made.path / "folder.md").mkdir()
    (made.path / "link.md").symlink_to("terraform.tfstate")

    result = made.tfguard(*words)

    assert result.code == 64, str(result)
    assert said in result.err
    assert len(result.err.splitlines()) <= 2
    assert not (made.path / "r.md").exists()
