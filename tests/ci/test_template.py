"""The GitLab template's own lines, each part in a shell of its own, as after a cancel; and the files' schemas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import ROOT, TFGUARD, Result, Stage, stage  # noqa: F401 - a fixture

TEMPLATE: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci-template.yml").read_text())
TFGUARD_YML = "version: 1\npipelines:\n  prod: {}\n"


def run_part(made: Stage, *parts: str, **environ: str) -> Result:
    script = made.path.parent / "script.sh"
    script.write_text("set -eo pipefail\n" + "\n".join(parts))
    base = {"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": str(made.path), "CI_JOB_ID": "7"}
    job = {"TFGUARD_CI_LOG": "1", "TFGUARD_PIPELINE": "prod", "TFGUARD_AWS_ROLE_ARN": "", "TFGUARD_OIDC_TOKEN": "t0ken"}
    return made.run(["bash", str(script)], **{**base, **job, **environ})


def lines_of(job: str) -> tuple[list[str], list[str]]:
    """What a job runs in its script, and in its after_script."""
    own = TEMPLATE[job]
    return [*TEMPLATE[".tfguard"]["before_script"], *own["script"]], TEMPLATE[own["extends"]]["after_script"]


@pytest.fixture
def project(stage: Callable[..., Stage]) -> Stage:  # noqa: F811
    """A project in a container whose image carries tfguard."""
    made = stage("local")
    (made.path / "tfguard.yml").write_text(TFGUARD_YML)
    image = made.path.parent / "image"
    image.mkdir()
    (image / "tfguard").write_text(f'#!/bin/sh\nexec {" ".join(TFGUARD)} "$@"\n')
    (image / "tfguard").chmod(0o755)
    made.environ["PATH"] = f"{image}:{made.environ['PATH']}"
    return made


@pytest.mark.e2e
def test_a_plan_of_one_job_is_applied_by_the_next(project: Stage) -> None:
    (plan, after_plan), (apply, _) = lines_of(".tfguard:plan"), lines_of(".tfguard:apply")

    planned = run_part(project, *plan)
    settled = run_part(project, *after_plan)
    report = json.loads((project.path / ".tfguard/report.json").read_text())
    applied = run_part(project, *apply)

    assert (planned.code, settled.code, applied.code) == (0, 0, 0), f"{planned}{settled}{applied}"
    assert report == {"create": 1, "update": 0, "delete": 0}
    assert "section_start:" in planned.out
    assert project.resources() == ["terraform_data.work"]


@pytest.mark.e2e
def test_a_plan_whose_state_has_moved_is_refused(project: Stage) -> None:
    (plan, _), (apply, _) = lines_of(".tfguard:plan"), lines_of(".tfguard:apply")
    assert run_part(project, *plan).code == 0
    assert project.terraform("apply", "-auto-approve").code == 0

    result = run_part(project, *apply)

    assert result.code == 1, str(result)
    assert "plan-stale" in result.err


@pytest.mark.e2e
def test_the_token_is_in_a_private_file_in_both_shells(project: Stage) -> None:
    script, after = lines_of(".tfguard:plan")
    role = {"TFGUARD_AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"}
    token = project.path / ".tfguard/oidc-token"

    for lines in (script[:1], after[:1]):
        result = run_part(project, *lines, 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"', **role)
        assert result.out == "t0ken"
        assert token.stat().st_mode & 0o777 == 0o600
        token.unlink()

    assert TEMPLATE[".tfguard:plan"]["artifacts"]["paths"] == [".tfguard/tfplan"]


@pytest.mark.e2e
def test_an_image_without_tfguard_and_a_project_without_its_lock_file_say_what_to_do(project: Stage) -> None:
    script, after = lines_of(".tfguard:plan")
    tools = project.path.parent / "bare"
    tools.mkdir()
    for name in ("bash", "mkdir", "sha256sum", "cat", "rm", "chmod"):
        (tools / name).symlink_to(shutil.which(name) or name)
    (tools / "python3").symlink_to(sys.executable)

    result = run_part(project, *script, PATH=str(tools))
    settled = run_part(project, *after, PATH=str(tools))

    assert result.code == 78, str(result)
    assert "no tfguard.lock" in result.err
    assert settled.code == 0, str(settled)


def test_after_script_enters_as_script_does() -> None:
    hidden = TEMPLATE[".tfguard"]

    assert hidden["after_script"][0] == hidden["before_script"][0]
    assert hidden["interruptible"] is False


# --- schemas --------------------------------------------------------------------------------------------------------

CHECKED = [
    ("vendor.github-actions", "action.yml", ()),
    ("vendor.github-workflows", "examples/github/terraform.yml", ()),
    ("vendor.gitlab-ci", ".gitlab-ci-template.yml", ("--data-transform", "gitlab-ci")),
    ("vendor.gitlab-ci", "examples/gitlab/.gitlab-ci.yml", ("--data-transform", "gitlab-ci")),
]


def tool(name: str) -> str:
    """A linter of the `test` extra, beside this Python or on PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize(("schema", "path", "more"), CHECKED, ids=str)
def test_the_files_are_what_the_platforms_take(schema: str, path: str, more: tuple[str, ...]) -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", schema, *more, str(ROOT / path)]

    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    files = [str(ROOT / "action.yml"), str(ROOT / "examples/github/terraform.yml")]

    done = subprocess.run([tool("zizmor"), "--offline", "--no-progress", *files], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_use_only_inputs_and_jobs_that_there_are() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    workflow = yaml.safe_load((ROOT / "examples/github/terraform.yml").read_text())
    pipeline = yaml.safe_load((ROOT / "examples/gitlab/.gitlab-ci.yml").read_text())

    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "tfguard@" in step.get("uses", "")]
    jobs = [job for job in pipeline.values() if isinstance(job, dict) and "extends" in job]

    assert len(steps) == len(jobs) == 2
    assert all(step["with"].keys() <= inputs.keys() for step in steps)
    assert all(job["extends"] in TEMPLATE for job in jobs)
