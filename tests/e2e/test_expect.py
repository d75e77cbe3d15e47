"""`--expect`: what was reviewed is what is applied, with the real Terraform."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Result, Stage

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]

TEXT = """
variable "size" {
  default = 1
}
variable "password" {
  default   = "correct horse"
  sensitive = true
}
resource "terraform_data" "sized" {
  input = var.size
}
resource "terraform_data" "secret" {
  input = var.password
}
output "size" {
  value = var.size
}
"""


def reviewed(made: Stage, *words: str) -> str:
    """Plan for a review; return the fingerprint. The report stays beside it."""
    planned = made.tfguard("--report", "plan.json", "--report", "plan.md", "plan", "-input=false", *words)
    assert planned.code == 0, str(planned)
    found = str(json.loads((made.path / "plan.json").read_text())["fingerprint"])
    assert f"<code>{found}</code>" in (made.path / "plan.md").read_text()
    return found


def refused(result: Result, *names: str) -> bool:
    said = "the plan is not the one that was reviewed: nothing was applied." in result.err
    assert "correct horse" not in result.err and "battery" not in result.err
    return result.code == 78 and said and all(name in result.err for name in names) and "Apply" not in result.out


def serial(made: Stage) -> int:
    path = made.path / "terraform.tfstate"
    return int(json.loads(path.read_text())["serial"]) if path.exists() else 0


def test_only_the_reviewed_plan_is_applied(stage: Make) -> None:
    made = stage("local", text=TEXT)
    first = reviewed(made)

    other = made.tfguard("apply", "--expect", first, "-no-color", "-var", "size=2")
    detailed = {"TF_CLI_ARGS_plan": "-detailed-exitcode"}
    same = made.tfguard("apply", "--expect", first, "-no-color", "-auto-approve", **detailed)

    assert refused(other, "Planned: now terraform_data.secret, terraform_data.sized and 1 more."), str(other)
    assert same.code == 0 and "Apply complete! Resources: 2 added" in same.out, str(same)
    assert "terraform_data.sized will be created" in same.out and "tfplan" not in same.out
    assert serial(made) > 0 and not list(made.path.glob("**/tfplan*"))

    before = serial(made)
    secret = reviewed(made, "-var", "password=battery")
    tried = made.tfguard("--expect", "plan.json", "apply", "-no-color", "-var", "password=battery2")
    assert refused(tried, "Planned: otherwise terraform_data.secret."), str(tried)
    (made.path / "p.tfvars").write_text('password = "battery"\nsize = 1\n')
    files = made.tfguard(
        "apply", "-no-color", "-var-file", "p.tfvars", "-target=terraform_data.secret", f"--expect={secret}"
    )
    assert files.code == 0 and "0 added, 1 changed" in files.out, str(files)
    assert serial(made) > before


def test_what_has_happened_since_the_review_is_named(stage: Make) -> None:
    made = stage("local", text=TEXT)
    assert made.tfguard("apply", "-auto-approve").code == 0
    nothing = reviewed(made)

    unchanged = made.tfguard("--expect", nothing, "apply", "-no-color")
    (made.path / "main.tf").write_text(TEXT + 'resource "terraform_data" "more" {}\n')
    code = made.tfguard("--expect", "plan.json", "apply", "-json")
    reviewed(made)
    state = made.tfguard("state", "rm", "terraform_data.sized")
    moved = made.tfguard("--report", "applied.json", "--expect", "plan.json", "apply", "-no-color")
    gone = made.tfguard("destroy", "--expect", "plan.json", "-no-color")

    assert unchanged.code == 0 and "Apply complete! Resources: 0 added" in unchanged.out, str(unchanged)
    assert refused(code, "Planned: new terraform_data.more."), str(code)
    assert all(json.loads(line)["type"] for line in code.out.splitlines())
    assert state.code == 0
    assert refused(moved, "Planned: new terraform_data.sized."), str(moved)
    report = json.loads((made.path / "applied.json").read_text())
    assert (report["command"], report["outcome"], report["exit_code"]) == ("apply", "plan-changed", 78)
    assert report["fingerprint"] in moved.err
    assert refused(gone, "no longer terraform_data.more"), str(gone)


def test_a_run_and_a_saved_plan_are_compared_too(stage: Make) -> None:
    made = stage("local", text=TEXT)
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod:\n    approve: auto\n    vars: {size: 3}\n")
    by_run = reviewed(made, "-var", "size=3")
    reviewed(made, "-out=saved")
    wrong = made.tfguard("run", "prod", "--expect", "plan.json")
    saved = made.tfguard("--expect", by_run, "apply", "-no-color", "saved")
    right = made.tfguard("run", "prod", "--expect", by_run)

    assert refused(wrong, "otherwise", "terraform_data.sized"), str(wrong)
    assert refused(saved, "terraform_data.sized"), str(saved)
    assert right.code == 0 and "2 added" in right.out, str(right)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--expect", "p1-abc", "apply"), "is neither a plan's fingerprint (p1-…) nor its report (.json)"),
        (("apply", "--expect", "none.json"), "--expect none.json cannot be read: No such file or directory"),
        (("apply", "--expect"), "--expect needs a value"),
        (("--expect", "p1-" + "0" * 40, "plan"), "--expect goes with apply, destroy and run"),
        (("--expect", "p1-" + "0" * 40, "apply", "-lock=false"), "under one lock, and -lock=false was asked for"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_lock(stage: Make, words: tuple[str, ...], said: str) -> None:
    made = stage("local", text=TEXT, is_initialised=False)

    result = made.tfguard(*words)

    assert said in result.err, str(result)
    assert result.code in (64, 78) and not result.out and not Path(made.path, "terraform.tfstate").exists()
