"""What the caller has opened beside 0, 1 and 2 is the program's, under the same numbers, and nothing of ours is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import TFGUARD, Result, Stage

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: Says what the program of a provisioner has open, beside what the shell itself needs for that.
TELLING = """
variable "given" {}
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "echo ${var.given} >&5; ls /proc/self/fd | sort > open"
  }
}
"""
STILL = 'variable "given" {\n  default = "x"\n}\noutput "given" {\n  value = var.given\n}\n'


def shell(made: Stage, line: str, program: list[str], **environ: str) -> Result:
    """Run a line of bash in which `"$@"` is the program."""
    return made.run(["bash", "-c", line, "bash", *program], **environ)


@pytest.mark.parametrize("limit", ["true", "ulimit -n 64"])
def test_terraform_has_what_was_opened_for_it_and_nothing_of_ours(stage: Make, limit: str) -> None:
    made = stage("local", text=TELLING)
    line = (
        f"{limit}; TF_CLI_CONFIG_FILE=<(echo 'disable_checkpoint = true')"
        ' "$@" apply -auto-approve -no-color -var-file=<(echo \'given = "heard"\') 5>log 7</dev/null'
    )

    plain, plain_open = shell(made, line, ["terraform"]), (made.path / "open").read_text()
    (made.path / "open").unlink()
    ours = shell(made, line, TFGUARD)

    assert (plain.code, ours.code) == (0, 0), f"{plain}{ours}"
    assert (made.path / "log").read_text() == "heard\n"
    assert (made.path / "open").read_text() == plain_open
    assert "CLI configuration" not in ours.out + ours.err
    assert made.leftovers() == []


def test_who_reads_the_other_end_is_told_when_the_program_closes_its_own(stage: Make) -> None:
    """Nobody of ours holds it open any more: else this program waits for its reader, and its reader for us."""
    made = stage("local", text=STILL)
    program = "echo said >&6; exec 6>&-; for i in $(seq 600); do test -e told && exit 3; sleep 0.1; done; exit 4"

    line = f"mkfifo pipe; (cat pipe >got; touch told) & \"$@\" exec -- sh -c '{program}' 6>pipe"

    result = shell(made, line, TFGUARD)

    assert result.code == 3, str(result)
    assert (made.path / "got").read_text() == "said\n"


NOTING = """#!/bin/sh
[ "$1" = version ] || echo "$1 $(test -e /proc/self/fd/5 && echo has || echo lacks)" >> "$NOTES"
exec %s "$@"
"""


def test_only_the_users_own_commands_have_what_was_opened_for_them(stage: Make, tmp_path: Path) -> None:
    """A pipe can be read once: not by an `init` that tfguard needs, and not by its look at the plan."""
    made = stage("local", text=TELLING.replace('variable "given" {}', 'variable "given" {\n  default = "x"\n}'))
    (made.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n  prod:\n    dir: .\n    approve: auto\n    steps: [plan, apply]\n"
    )
    shutil.rmtree(made.path / ".terraform", ignore_errors=True)
    (made.path / ".terraform.lock.hcl").unlink(missing_ok=True)
    fake = tmp_path / "terraform"
    fake.write_text(NOTING % shutil.which("terraform"))
    fake.chmod(0o755)
    notes = tmp_path / "notes"
    line = '"$@" --report plan.md run prod 5>log'

    result = shell(made, line, [*TFGUARD, "--terraform", str(fake)], NOTES=str(notes))

    assert result.code == 0, str(result)
    seen = notes.read_text().splitlines()
    assert {"plan has", "apply has", "show lacks"} <= set(seen)
    assert {each for each in seen if each.startswith(("init", "show"))} <= {"init lacks", "show lacks"}
    assert (made.path / "log").read_text() == "x\n"


def test_a_plan_is_saved_to_a_number_told_of_and_applied_from_one(stage: Make) -> None:
    made = stage("local", text=STILL)

    saved = shell(made, '"$@" --report page.md plan -no-color -out=/dev/fd/5 5>plan', TFGUARD)
    applied = shell(made, '"$@" apply -no-color /dev/fd/5 5<plan', TFGUARD)

    assert (saved.code, applied.code) == (0, 0), f"{saved}{applied}"
    assert "given" in (made.path / "page.md").read_text()
    assert os.path.getsize(made.path / "plan") > 0
    assert "Apply complete!" in applied.out


@pytest.mark.parametrize("line", ['"$@" apply -no-color <(cat plan)', '"$@" plan -no-color -out=>(cat >/dev/null)'])
def test_a_plan_file_that_is_a_pipe_is_terraforms_own_affair(stage: Make, line: str) -> None:
    made = stage("local", text=STILL)
    made.terraform("plan", "-out=plan")

    plain = shell(made, line, ["terraform"], TF_IN_AUTOMATION="1")
    ours = shell(made, line, [*TFGUARD, "--report", "page.md"], TF_IN_AUTOMATION="1")

    assert (ours.code, ours.out) == (plain.code, plain.out), f"{plain}{ours}"
    assert made.leftovers() == []
