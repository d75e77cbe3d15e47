"""action.yml, its own steps, run and cancelled as GitHub's runner does it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.actions import ACTION, Job
from tests.e2e.conftest import GATED, ROOT, Stage, stage  # noqa: F401 - a fixture
from tests.e2e.runners import cancel_on_github

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = {"command": "apply", "args": "-auto-approve\n-no-color"}


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tool cache into which the action has been installed once, from this environment's index."""
    base = tmp_path_factory.mktemp("tools")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "action/entry.py"), "install", str(base / "tfguard")],
        capture_output=True,
        text=True,
        env=kept,
        timeout=300,
    )
    if done.returncode:
        pytest.skip(f"no package index can be reached from here: {done.stderr[-300:]}")
    assert Path(done.stdout.strip(), "boto3").is_dir()
    return base


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed: whatever runs on it was brought by the action."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin/python"


@pytest.fixture
def job(stage: Make, tools: Path, python: Path) -> Callable[..., Job]:  # noqa: F811
    def make(inputs: dict[str, str], text: str | None = None, backend: str = "local", **environ: str) -> Job:
        made = stage(backend, **({"text": text} if text else {}))
        return Job(made, tools, {"python-path": str(python), **inputs}, environ)

    return make


def test_the_second_install_on_a_machine_finds_the_first(tools: Path) -> None:
    before = sorted(tools.rglob("boto3"))

    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "action/entry.py"), "install", str(tools / "tfguard")],
        capture_output=True,
        env={"PATH": "/nowhere"},
    )

    assert done.returncode == 0, done.stderr
    assert sorted(tools.rglob("boto3")) == before
    assert [path.name for path in (tools / "tfguard").iterdir() if path.name.startswith(".")] == []


def test_an_apply_tells_its_outputs_and_a_summary(job) -> None:
    made = job(APPLY)

    code = made.run()

    assert code == 0, made.steps["run"].out
    assert made.outputs["outcome"] == "succeeded"
    assert made.outputs["exit-code"] == "0"
    assert (made.outputs["add"], made.outputs["change"], made.outputs["destroy"]) == ("1", "0", "0")
    assert made.outputs["lock-id"]
    assert "succeeded (exit 0)" in made.steps["run"].summary
    assert "ana@" in made.steps["run"].summary
    assert made.stage.resources() == ["terraform_data.work"]


def test_a_plan_is_saved_counted_and_private(job) -> None:
    made = job({"command": "plan", "args": "-detailed-exitcode"})

    code = made.run()

    assert code == 0, made.steps["run"].out
    outputs = made.outputs
    assert outputs["exit-code"] == "2"
    assert (outputs["has-changes"], outputs["add"]) == ("true", "1")
    for name in ("plan-path", "plan-json-path"):
        assert Path(outputs[name]).stat().st_mode & 0o777 == 0o600
    assert "<code>terraform_data.work</code>" in made.steps["run"].summary
    assert "**1 to add, 0 to change, 0 to destroy.**" in made.steps["run"].summary


def test_terraforms_text_cannot_command_the_runner(job) -> None:
    made = job(APPLY, text='output "x" {\n  value = "\\n::error::planted\\n"\n}\n')

    made.run()

    lines = made.steps["run"].out.splitlines()
    token = next(line for line in lines if line.startswith("::stop-commands::")).removeprefix("::stop-commands::")
    at = next(index for index, line in enumerate(lines) if "planted" in line)
    assert lines.index(f"::stop-commands::{token}") < at < lines.index(f"::{token}::")


def test_data_is_never_fenced(job) -> None:
    made = job({"command": "plan", "args": "-json"})

    assert made.run() == 0, made.steps["run"].out

    assert "::group::" not in made.steps["run"].out
    assert "::stop-commands::" not in made.steps["run"].out


@pytest.mark.slow
def test_a_cancel_in_mid_apply_leaves_a_whole_state_no_lock_and_the_story(job) -> None:
    made = job(APPLY, backend="dynamodb", TF_VAR_hold="8")
    step = made.start("run")
    made.stage.wait_for_log("begin", timeout=60)

    cancel_on_github(step.process)
    step.end()
    settled = made.start("settle")
    code = settled.end()

    assert code == 0, settled.out
    assert made.stage.locks() == []
    assert made.stage.resources() == ["terraform_data.work"]
    assert made.outputs["outcome"] == "interrupted"
    assert "interrupted" in step.summary + settled.summary


@pytest.mark.slow
def test_settle_tells_the_story_of_a_run_step_that_was_killed(job) -> None:
    made = job(APPLY, text=GATED, backend="dynamodb")
    step = made.start("run")
    made.stage.wait_for_log("begin", timeout=60)

    step.process.kill()
    step.process.wait()
    made.stage.open_gate()
    settled = made.start("settle")
    code = settled.end()
    step.end()

    assert code == 0, settled.out
    assert made.stage.locks() == []
    assert made.outputs["outcome"] == "orphaned"
    assert made.outputs["lock-id"]
    assert "### ❌" in settled.summary


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "Give `command` (for example: plan), or `pipeline`."),
        ({"command": "aply"}, "there is no command 'aply'"),
        ({"command": "run"}, "`command: run` needs a pipeline"),
        ({"pipeline": "prod", "workspace": "x"}, "contradict"),
        ({"pipeline": "prod", "args": "-json"}, "`args` go with a `command`"),
        ({"command": "plan", "install": "perhaps"}, "It may be `auto` or `never`."),
        ({"command": "plan", "install": "never"}, "no tfguard on PATH"),
        ({"command": "plan", "working-directory": "nowhere"}, "working-directory nowhere"),
        ({"command": "plan", "python-path": "/no/python"}, "actions/setup-python"),
    ],
)
def test_bad_input_is_one_annotation_that_says_what_to_do(job, inputs: dict[str, str], words: str) -> None:
    made = job(inputs, PATH="/usr/bin:/bin")
    step = made.start("run")

    code = step.end()

    assert code == 64, step.out
    assert step.out.count("::error title=tfguard::") == 1
    assert words in step.out


# --- the file itself ------------------------------------------------------------------------------------------------


def test_every_output_is_settles_or_else_runs() -> None:
    for name, output in ACTION["outputs"].items():
        wanted = f"${{{{ steps.settle.outputs.{name} || steps.run.outputs.{name} }}}}"
        assert output["value"] == wanted
        assert output["description"]


def test_scripts_hold_no_expression() -> None:
    assert not [step["id"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]]


def test_the_last_step_runs_whatever_happened() -> None:
    assert ACTION["runs"]["steps"][-1]["if"] == "${{ always() }}"


def test_the_lock_file_pins_every_dependency_with_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)", text, re.MULTILINE)
    names = {name for name, _ in blocks}

    assert {"boto3", "click", "msgspec", "psutil", "pyyaml", "rich", "structlog", "tenacity"} <= names
    assert len(blocks) == len(re.findall(r"^[a-z0-9-]+==", text, re.MULTILINE))
    assert "://" not in text
