"""A cancelled CI job: what was being created is in the state, the lock is free, nobody got in before."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.conftest import TFGUARD, Stage
from tests.e2e.runners import (
    cancel_in_gitlab_docker,
    cancel_in_gitlab_kubernetes,
    cancel_in_gitlab_shell,
    cancel_on_github,
)
from tests.support.eventually import eventually, patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

APPLY = " ".join([*TFGUARD, "apply", "-auto-approve", "-no-color"])
GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_TRACKING_ID": "github_1"}
GITLAB = {"GITLAB_CI": "true", "CI": "true"}
#: The shape of GitLab's script: a trap, the lines in a subshell, no stdin.
GITLAB_SCRIPT = "trap 'exit 1' TERM\n( {} ) </dev/null\n"


@pytest.fixture
def job(stage: Callable[..., Stage]) -> Iterator[Callable[..., tuple[Stage, subprocess.Popen[str]]]]:
    """Start a script as a job's entry process, and wait until Terraform is creating a resource."""
    entries: list[subprocess.Popen[str]] = []

    def make(script: str, **environ: str) -> tuple[Stage, subprocess.Popen[str]]:
        made = stage("dynamodb")
        path = made.path.parent / "script.sh"
        path.write_text(script)
        entry = subprocess.Popen(
            ["bash", "-e", str(path)],
            cwd=made.path,
            env={**made.environ, "TF_VAR_hold": "120", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        entries.append(entry)
        made.wait_for_log("begin")
        return made, entry

    yield make
    for entry in entries:
        entry.kill()
        entry.communicate()


def terraform_of(made: Stage) -> psutil.Process:
    return next(
        each
        for each in psutil.process_iter(["name", "cwd"])
        if each.info["name"] == "terraform" and each.info["cwd"] == str(made.path)
    )


ROWS = [
    pytest.param(f"exec {APPLY}\n", GITHUB, cancel_on_github, id="github-exec"),
    pytest.param(f"{APPLY}\necho done\n", GITHUB, cancel_on_github, id="github-bash-e"),
    pytest.param(GITLAB_SCRIPT.format(APPLY), GITLAB, cancel_in_gitlab_shell, id="gitlab-shell"),
    pytest.param(
        GITLAB_SCRIPT.format(APPLY),
        {**GITLAB, "CI_DISPOSABLE_ENVIRONMENT": "true"},
        cancel_in_gitlab_docker,
        id="gitlab-docker",
    ),
    pytest.param(f"{APPLY}\n", {**GITLAB, "CI_DISPOSABLE_ENVIRONMENT": "true"}, cancel_in_gitlab_kubernetes, id="k8s"),
]


@pytest.mark.parametrize(("script", "environ", "cancel"), ROWS)
def test_a_cancelled_job_leaves_a_whole_state_and_no_lock(job, script, environ, cancel) -> None:
    made, entry = job(script, **environ)
    terraform = terraform_of(made)
    rival = made.start_tfguard("exec", "--", "sh", "-c", f"kill -0 {terraform.pid} && echo OVERLAP; echo in")
    eventually(lambda: "is held by" in (rival.stderr.readline() or ""), 20, "a rival in line")

    cancel(entry)
    eventually(lambda: not terraform.is_running(), 40, "Terraform's end")
    said, _ = rival.communicate(timeout=patience(20))

    assert said == "in\n"
    eventually(lambda: made.locks() == [], 15, "the lock's release")
    assert made.resources() == ["terraform_data.work"]
    assert made.terraform("plan", "-input=false").code == 0
    history = made.dynamodb.item(made.table, f"{made.bucket}/{made.key}.tfguard")
    assert history is not None


def test_githubs_clean_up_of_leftover_processes_does_not_find_keeper_or_terraform(job) -> None:
    made, _ = job(f"exec {APPLY}\n", **GITHUB)

    terraform = terraform_of(made)
    keeper = terraform.parent()

    assert "RUNNER_TRACKING_ID" not in terraform.environ()
    assert "RUNNER_TRACKING_ID" not in keeper.environ()
