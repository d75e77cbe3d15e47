"""action.yml, its program, the reference and the command line say the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.ci.actions import ACTION
from tests.e2e.conftest import ROOT, TFGUARD
from tests.support.pages import page
from tfguard.cli import main

SECTION = page("reference/action")


def first_cells(table: str) -> Iterator[str]:
    """The names in the first column of the reference's table with that heading, in order."""
    rows = SECTION[SECTION.index(f"| {table} |") :].partition("\n\n")[0].splitlines()[2:]
    return (name for row in rows if row[0] == "|" for name in re.findall(r"`([\w-]+)`", row.split("|")[1]))


def row_of(name: str) -> str:
    return next(line for line in SECTION.splitlines() if line.startswith("| ") and f"`{name}`" in line.split("|")[1])


def variable(name: str) -> str:
    return name.upper().replace("-", "_")


@pytest.fixture(scope="module")
def help_text() -> str:
    return subprocess.run([*TFGUARD, "--help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_reference_lists_the_inputs() -> None:
    assert list(first_cells("input")) == list(ACTION["inputs"])


def test_the_reference_lists_the_outputs() -> None:
    assert sorted(first_cells("output")) == sorted(ACTION["outputs"])


@pytest.mark.parametrize("name", ACTION["inputs"])
def test_the_reference_has_an_inputs_default(name: str) -> None:
    default = str(ACTION["inputs"][name].get("default", ""))

    assert row_of(name).split("|")[2].strip().strip("`") == default


def test_every_input_is_handed_to_the_run_step_under_its_name() -> None:
    given = {value: key for key, value in ACTION["runs"]["steps"][0]["env"].items()}

    for name in ACTION["inputs"]:
        short = name.removesuffix("-path") if name == "python-path" else name
        assert given.pop(f"${{{{ inputs.{name} }}}}") == f"TFGUARD_INPUT_{variable(short)}"
    assert not given


def test_every_input_is_read() -> None:
    program = (ROOT / "action/entry.py").read_text() + ACTION["runs"]["steps"][0]["run"]

    for key in ACTION["runs"]["steps"][0]["env"]:
        short = key.removeprefix("TFGUARD_INPUT_")
        assert f'"{short}"' in program or f"${key}" in program


def test_an_input_that_is_an_option_or_a_variable_is_told_so(entry: ModuleType, help_text: str) -> None:
    for option, name in entry.FLAGS.items():
        assert re.search(rf"^  .*{option}\b", help_text, re.MULTILINE), f"tfguard --help has no {option}"
        assert option == "-p" or f"`{option}`" in row_of(name.lower().replace("_", "-"))
    for setting, name in entry.VARIABLES.items():
        assert f"`{setting}`" in row_of(name.lower().replace("_", "-"))


def test_every_output_is_written_by_tfguard() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tfguard").rglob("*.py"))

    for name in ACTION["outputs"]:
        assert f'"{name}"' in sources


def test_every_output_is_settles_or_else_runs() -> None:
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.settle.outputs.{name} || steps.run.outputs.{name} }}}}"
        assert output["description"]


def test_our_own_commands_are_the_command_lines(entry: ModuleType) -> None:
    assert entry.OWN == main.OWN


def test_terraforms_commands_are_those_that_it_shows(entry: ModuleType) -> None:
    shown = subprocess.run(["terraform", "-help"], capture_output=True, text=True).stdout
    commands = set(re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", shown, re.MULTILINE))

    assert {"apply", "plan", "workspace"} <= commands <= entry.TERRAFORMS


def test_scripts_hold_no_expression() -> None:
    assert not [step["id"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]]


def test_the_last_step_runs_whatever_happened() -> None:
    assert ACTION["runs"]["steps"][-1]["if"] == "${{ always() }}"


@pytest.mark.parametrize(("asked", "given"), [("true", "ghs_x"), ("false", None), ("", None)])
def test_the_token_is_handed_on_only_for_a_comment(entry: ModuleType, asked: str, given: str | None) -> None:
    environ = {"TFGUARD_INPUT_COMMENT": asked, "TFGUARD_INPUT_GITHUB_TOKEN": "ghs_x"}

    entry.choose(environ)

    assert environ.get("TFGUARD_COMMENT_TOKEN") == given
    assert (environ.get("TFGUARD_COMMENT") == "1") is (given is not None)
    assert not [name for name in environ if name.startswith("TFGUARD_INPUT_")]
