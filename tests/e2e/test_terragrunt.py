"""
What Terragrunt asks of the program that TG_TF_PATH names, answered as by Terraform.

The real Terragrunt is no part of this: its calls are written down from its documentation.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable

import pytest

from tests.e2e.conftest import ROOT, Stage
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
UNIT = ROOT / "examples/terragrunt/live/network/main.tf"
#: What Terragrunt runs, from the pages of its documentation on auto-init, `run`, `run --all`, dependencies, providers'
#: cache and remote state; in the order of a unit's life, each with its exit status.
TERRAGRUNTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("--version",), 0),  # Up to 0.72; read by `^(\S+)\s(v?\d+\.\d+\.\d+)`.
    (("-version",), 0),
    (("init", "-input=false", "-no-color"), 0),  # Auto-init.
    (("init", "-get=true", "-get-plugins=false", "-backend=false", "-input=false"), 1),  # Old ones: no such flag now.
    (("init", "-upgrade", "-reconfigure", "-backend-config=use_lockfile=true", "-input=false"), 0),
    (("providers", "lock", "-platform=linux_amd64", "-no-color"), 0),  # The providers' cache.
    (("providers",), 0),
    (("validate", "-no-color"), 0),
    (("plan", "-input=false", "-lock-timeout=20m", "-detailed-exitcode", "-out=tfplan.tfplan"), 2),
    (("show", "-json", "tfplan.tfplan"), 0),
    (("apply", "-input=false", "-auto-approve", "tfplan.tfplan"), 0),
    (("apply", "-input=false", "-auto-approve", "-no-color"), 0),
    (("output", "-json"), 0),  # Of a dependency.
    (("output", "-no-color", "-json"), 0),
    (("state", "list"), 0),
    (("state", "pull"), 0),
    (("workspace", "list"), 0),
    (("workspace", "show"), 0),
    (("get",), 0),
    (("graph",), 0),
    (("fmt", "-check"), 3),  # What it generates is not formatted.
    (("force-unlock", "-force", "no-such-id"), 1),
    (("destroy", "-auto-approve", "-input=false"), 0),
)
#: They print what changes from one call to the next, or run under the lock.
CHANGING = frozenset({"force-unlock", "init", "plan", "apply", "destroy"})


def program(made: Stage) -> str:
    """A program in one word, as TG_TF_PATH has it."""
    script = made.path.parent / "tfguard"
    script.write_text(f"#!{sys.executable}\nfrom tfguard.__main__ import main\nmain()\n")
    script.chmod(0o755)
    return str(script)


def test_terragrunts_calls_are_answered_as_by_terraform(stage: Make) -> None:
    made = stage("s3", is_initialised=False, text=UNIT.read_text())

    made.environ["TG_TF_PATH"] = program(made)
    for words, code in TERRAGRUNTS:
        ours = made.tfguard(*words)
        assert ours.code == code, (words, str(ours))
        if words[0] not in CHANGING:
            plain = made.terraform(*words)
            assert (ours.code, ours.out, ours.err) == (plain.code, plain.out, plain.err), words

    assert made.resources() == []
    assert made.leftovers() == []


def test_the_first_line_of_our_version_suits_terragrunt(stage: Make) -> None:
    made = stage("local", is_initialised=False)

    first = made.tfguard("--version").out.splitlines()[0]  # `terraform_binary = "tfguard"` sets no variable.

    match = re.match(r"^(\S+)\s(v?\d+\.\d+\.\d+)", first)
    assert match is not None
    assert match[0] == made.terraform("version").out.splitlines()[0]


def test_units_that_terragrunt_runs_at_once_are_each_a_run_of_their_own(stage: Make) -> None:
    made = stage("local", is_initialised=False)
    script, units = program(made), []
    for name in ("app", "dns", "net"):
        unit = made.path / name / ".terragrunt-cache" / "hash" / "hash"
        unit.mkdir(parents=True)
        (unit / "main.tf").write_text(f'resource "terraform_data" "{name}" {{}}\n')
        line = f"cd {shlex.quote(str(unit))} && {script} init -input=false && {script} apply -auto-approve -input=false"
        units.append(made.start(["sh", "-c", line], TG_TF_PATH=script))

    ended = [(unit.communicate(timeout=patience(60)), unit.returncode) for unit in units]

    assert [code for _, code in ended] == [0, 0, 0], ended
    assert all((unit / "terraform.tfstate").is_file() for unit in made.path.glob("*/.terragrunt-cache/*/*"))
