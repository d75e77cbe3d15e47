"""What we give people to copy: each file is what its platform takes, and every tfguard in it is one that there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.gitlab import TEMPLATE
from tests.e2e.conftest import ROOT

EXAMPLES = ROOT / "examples"
WORKFLOWS = sorted(EXAMPLES.glob("github/*.yml"))
GITLAB = EXAMPLES / "gitlab/.gitlab-ci.yml"
CHECKED = [
    ("vendor.github-actions", ROOT / "action.yml", ()),
    *(("vendor.github-workflows", path, ()) for path in WORKFLOWS),
    ("vendor.gitlab-ci", ROOT / ".gitlab-ci-template.yml", ("--data-transform", "gitlab-ci")),
    ("vendor.gitlab-ci", GITLAB, ("--data-transform", "gitlab-ci")),
]


def tool(name: str) -> str:
    """A linter of the `test` extra, beside this Python or on PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(("schema", "path", "more"), CHECKED, ids=lambda value: getattr(value, "name", None))
def test_the_files_are_what_the_platforms_take(schema: str, path: Path, more: tuple[str, ...]) -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", schema, *more, str(path)]

    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    files = [str(ROOT / "action.yml"), *map(str, WORKFLOWS)]

    done = subprocess.run([tool("zizmor"), "--offline", "--no-progress", *files], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_use_only_inputs_and_outputs_that_there_are() -> None:
    inputs = read(ROOT / "action.yml")["inputs"]
    jobs = [job for path in WORKFLOWS for job in read(path)["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"] if "/tfguard@" in step.get("uses", "")]

    assert steps
    assert all(step["with"].keys() <= inputs.keys() for step in steps)


def test_pipelines_extend_only_jobs_that_there_are() -> None:
    jobs = [job for job in read(GITLAB).values() if isinstance(job, dict) and "extends" in job]

    assert jobs
    assert all(job["extends"] in TEMPLATE for job in jobs)
