"""What we give people to copy: each file is what its platform takes, does what it says, and calls what there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

from tests.ci.gitlab import TEMPLATE
from tests.conftest import S3, States
from tests.e2e.conftest import ROOT, Stage
from tfguard.cli import own_commands
from tfguard.config import options

EXAMPLES = ROOT / "examples"
WORKFLOWS = sorted(EXAMPLES.glob("github/*.yml"))
PAGES = sorted(EXAMPLES.glob("*/README.md"))
GITLAB = EXAMPLES / "gitlab/.gitlab-ci.yml"
GITLAB_LOCKS = EXAMPLES / "gitlab/locks.gitlab-ci.yml"
LAPTOP = EXAMPLES / "laptop/tfguard.yml"
CHECKED = [
    ("vendor.github-actions", ROOT / "action.yml", ()),
    *(("vendor.github-workflows", path, ()) for path in WORKFLOWS),
    ("vendor.gitlab-ci", ROOT / ".gitlab-ci-template.yml", ("--data-transform", "gitlab-ci")),
    ("vendor.gitlab-ci", GITLAB, ("--data-transform", "gitlab-ci")),
    ("vendor.gitlab-ci", GITLAB_LOCKS, ("--data-transform", "gitlab-ci")),
]


def tool(name: str) -> str:
    """A linter of the `test` extra, beside this Python or on PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def jobs_of(workflow: Path) -> dict[str, Any]:
    return read(workflow)["jobs"]


def steps() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every step of every workflow, with its file."""
    for path in WORKFLOWS:
        for job in jobs_of(path).values():
            yield from ((path, step) for step in job["steps"])


# --- schemas and linters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schema", "path", "more"), CHECKED, ids=lambda value: getattr(value, "name", None))
def test_the_files_are_what_the_platforms_take(schema: str, path: Path, more: tuple[str, ...]) -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", schema, *more, str(path)]

    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    files = [str(ROOT / "action.yml"), *map(str, WORKFLOWS)]

    done = subprocess.run([tool("zizmor"), "--offline", "--no-progress", *files], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_terraforms_own_formatter_has_nothing_to_say() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", str(EXAMPLES)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    for path in EXAMPLES.rglob("*.hcl"):
        formatted = subprocess.run(["terraform", "fmt", "-"], input=path.read_text(), capture_output=True, text=True)
        assert formatted.stdout == path.read_text()


# --- names ----------------------------------------------------------------------------------------------------------


def test_workflows_use_only_inputs_that_there_are() -> None:
    inputs = read(ROOT / "action.yml")["inputs"]
    used = [step["with"].keys() for _, step in steps() if "/tfguard@" in step.get("uses", "")]

    assert len(used) >= len(WORKFLOWS)
    assert all(names <= inputs.keys() for names in used)


def test_workflows_use_only_outputs_that_there_are() -> None:
    outputs = read(ROOT / "action.yml")["outputs"]
    used = [name for path in WORKFLOWS for name in re.findall(r"steps\.plan\.outputs\.([\w-]+)", path.read_text())]

    assert used
    assert set(used) <= outputs.keys()


def test_workflows_plan_only_pipelines_of_the_example_beside_them() -> None:
    pipelines = read(LAPTOP)["pipelines"].keys()
    fixed = [step["with"].get("pipeline", "") for _, step in steps() if "/tfguard@" in step.get("uses", "")]
    matrices = [job.get("strategy", {}).get("matrix", {}) for path in WORKFLOWS for job in jobs_of(path).values()]
    listed = [matrix.get("pipeline", []) for matrix in matrices]

    assert {name for name in fixed if name and "$" not in name} <= pipelines  # one about all names none
    assert {name for names in listed if isinstance(names, list) for name in names} <= pipelines


def test_a_forks_pull_request_is_skipped_with_a_notice() -> None:
    jobs = jobs_of(EXAMPLES / "github/terraform.yml")

    assert jobs["plan"]["if"].replace("==", "!=") == jobs["fork"]["if"].replace("==", "!=")
    assert "== github.repository" in jobs["plan"]["if"] and "!= github.repository" in jobs["fork"]["if"]
    assert jobs["fork"]["permissions"] == {}
    assert "::notice " in jobs["fork"]["steps"][0]["run"]


def test_pipelines_extend_only_jobs_that_there_are() -> None:
    files = (GITLAB, GITLAB_LOCKS)
    jobs = [job for file in files for job in read(file).values() if isinstance(job, dict) and "extends" in job]

    assert jobs
    assert all(job["extends"] in TEMPLATE for job in jobs)


# --- command lines --------------------------------------------------------------------------------------------------


def scripts() -> Iterator[str]:
    """Whatever in the examples is for a shell."""
    yield from (step["run"] for _, step in steps() if "run" in step)
    for job in (*TEMPLATE.values(), *read(GITLAB).values(), *read(GITLAB_LOCKS).values()):
        parts = ("before_script", "script", "after_script")
        yield from (line for part in parts if isinstance(job, dict) for line in job.get(part, []))
    for page in PAGES:
        yield from re.findall(r"```(?:sh)?\n(.*?)```", page.read_text(), re.DOTALL)
        yield from re.findall(r"`(tfguard [^`]+)`", page.read_text())
    yield from re.findall(r"^#   (tfguard .*?)(?:   .*)?$", LAPTOP.read_text(), re.MULTILINE)


def command_lines() -> list[str]:
    """Every call of tfguard in them, without what follows in its line."""
    lines = [line for script in scripts() for line in script.splitlines() if not line.lstrip().startswith("echo ")]
    return sorted({found for line in lines for found in re.findall(r"(?<![\w/.-])tfguard +([^;|&)\n#>]+)", line)})


@pytest.mark.parametrize("line", command_lines())
def test_every_tfguard_in_an_example_is_one(line: str, entry: ModuleType) -> None:
    words = options.parse(shlex.split(line)).command

    assert words[0] in entry.TERRAFORMS | entry.OWN | {"--version"}
    command: click.Command = own_commands.group
    while isinstance(command, click.Group) and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if command is not own_commands.group:
        command.make_context(command.name, list(words))


def test_the_page_of_locks_is_written_where_it_is_published_from(entry: ModuleType) -> None:
    look, upload = jobs_of(EXAMPLES / "github/locks.yml")["page"]["steps"][-2:]
    words = [look["with"]["command"], *look["with"]["args"].split()]
    command = own_commands.group.commands[words[0]]

    given = command.make_context("status", words[1:]).params

    assert words[0] in entry.OWN
    assert (given["is_all"], given["page"]) == (True, f"{upload['with']['path']}/index.html")
    assert upload["uses"].startswith("actions/upload-pages-artifact@")
    pages = read(GITLAB_LOCKS)["pages"]
    assert pages["artifacts"]["paths"] == ["public"]
    assert "--html public/index.html" in pages["script"][-1]


# --- what the files do ----------------------------------------------------------------------------------------------

FAKE_GH = """#!/bin/sh
echo "gh $*" >> "$RUNNER_TEMP/calls"
case "$1 $2" in "issue list") printf '%s' "$FOUND";; esac
"""
DRIFTED = {"OUTCOME": "succeeded", "HAS_CHANGES": "true"}
FAILED = {"OUTCOME": "failed", "HAS_CHANGES": ""}
NO_DRIFT = {"OUTCOME": "succeeded", "HAS_CHANGES": "false"}


@pytest.mark.parametrize(
    ("found", "ended", "wanted"),
    [
        ("", DRIFTED, "gh issue create --title Drift: prod/app --body-file "),
        ("9", DRIFTED, "gh issue edit 9 --body-file "),
        ("", FAILED, "gh issue create --title Drift: prod/app --body-file "),
        ("9", FAILED, "gh issue edit 9 --body-file "),
        ("9", NO_DRIFT, "gh issue close 9 --comment No drift any more: https://run"),
        ("", NO_DRIFT, "gh issue list "),
    ],
)
@pytest.mark.parametrize("page", ["<h3>✅ prod/app</h3>\n", ""])
def test_drift_keeps_one_issue_up_to_date(
    tmp_path: Path, found: str, ended: dict[str, str], wanted: str, page: str
) -> None:
    (tmp_path / "gh").write_text(FAKE_GH)
    (tmp_path / "gh").chmod(0o755)
    if page:
        (tmp_path / "plan.md").write_text(page)
    step = jobs_of(EXAMPLES / "github/drift.yml")["drift"]["steps"][-1]
    assert {*DRIFTED, "TITLE", "RUN"} <= step["env"].keys()
    base = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "RUN": "https://run"}
    environ = {**base, "FOUND": found, "TITLE": "Drift: prod/app", **ended}

    subprocess.run(["bash", "-e", "-c", step["run"]], env=environ, check=True)

    assert (tmp_path / "calls").read_text().splitlines()[-1].startswith(wanted)
    assert (tmp_path / "plan.md").read_text() == (page or "The plan could not be made: https://run\n")


def test_who_keeps_a_comment_may_write_it_and_nobody_else() -> None:
    jobs = [job for path in WORKFLOWS for job in jobs_of(path).values()]
    commenting = [job for job in jobs if any(step.get("with", {}).get("comment") for step in job["steps"])]

    assert len(commenting) >= 2
    assert commenting == [job for job in jobs if job["permissions"].get("pull-requests") == "write"]


@pytest.mark.e2e
@pytest.mark.emulator
def test_the_laptop_example_runs_each_pipeline_on_a_state_of_its_own(stage: Callable[..., Stage], s3: S3) -> None:
    made = stage("local", is_initialised=False)
    shutil.copytree(EXAMPLES / "laptop", made.path / "laptop")
    made.environ |= {"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_ENDPOINT_URL_STS": s3.endpoint}
    made.path /= "laptop"
    for stack in made.path.glob("stacks/*/main.tf"):  # The emulator has no address for each bucket.
        stack.write_text(stack.read_text().replace("use_lockfile = true", "use_lockfile = true\nuse_path_style = true"))
    buckets = {f"acme-{environment}-state": s3.bucket() for environment in ("dev", "staging", "prod")}
    text = re.sub("acme-[a-z]+-state", lambda match: buckets[match[0]], LAPTOP.read_text())
    (made.path / "tfguard.yml").write_text(text)

    validated = made.tfguard("config", "validate")
    listed = made.tfguard("config", "list", "--json")
    applied = made.tfguard("run", "dev/network")
    planned = made.tfguard("-p", "prod/app", "plan", "-no-color")

    assert validated.code == 0, str(validated)
    assert json.loads(listed.out) == list(read(LAPTOP)["pipelines"])
    assert applied.code == 0, str(applied)
    assert b'"dev of size 1"' in (s3.body(buckets["acme-dev-state"], "network.tfstate") or b"")
    assert planned.code == 0, str(planned)
    assert '"prod of size 3"' in planned.out


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.e2e
def test_gitlabs_page_shows_a_backend_and_a_tfguard_yml_that_work(stage: Callable[..., Stage], states: States) -> None:
    (backend,) = blocks(EXAMPLES / "gitlab/README.md", "hcl")
    variables, tfguard_yml = blocks(EXAMPLES / "gitlab/README.md", "yaml")
    made = stage("local", is_initialised=False)
    (made.path / "backend.tf").write_text(backend)
    (made.path / "tfguard.yml").write_text(tfguard_yml)
    written = yaml.safe_load(variables)["variables"]
    project = str(uuid.uuid4().int)
    job = {"CI_API_V4_URL": f"{states.endpoint}/api/v4", "CI_PROJECT_ID": project, "CI_JOB_TOKEN": "t0ken"}
    job["TF_HTTP_ADDRESS"] = expanded(written["TF_HTTP_ADDRESS"], job)
    environ = {name: expanded(text, job) for name, text in written.items()}

    assert made.tfguard("init", "-input=false", **environ).code == 0
    result = made.tfguard("apply", "-auto-approve", **environ)

    assert result.code == 0, str(result)
    assert "prod-network: locked" in result.err
    assert "90s" in made.tfguard("config", "show").out
    assert states.serials(job["TF_HTTP_ADDRESS"]) and states.lock_of(job["TF_HTTP_ADDRESS"]) == ""
    assert states.serials(f"{job['TF_HTTP_ADDRESS']}-tfguard-queue"), "the line and the history are beside it"


def expanded(text: object, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda match: variables[match[1]], str(text))
