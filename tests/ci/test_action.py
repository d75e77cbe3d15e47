"""action.yml, its own steps, run and cancelled as GitHub's runner does it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.ci.actions import Job
from tests.e2e.conftest import GATED
from tests.e2e.runners import cancel_on_github
from tests.report.comments import Site, served
from tests.support import parts
from tests.support.eventually import eventually, patience
from tfguard.terraform.fingerprint import PATTERN

pytestmark = pytest.mark.e2e

APPLY = {"command": "apply", "args": "-auto-approve\n-no-color"}


def test_an_apply_tells_its_outputs_and_a_summary(job: Callable[..., Job]) -> None:
    made = job(APPLY)

    code = made.run()

    assert code == 0, made.steps["run"].out
    assert made.outputs["outcome"] == "succeeded"
    assert made.outputs["exit-code"] == "0"
    assert (made.outputs["add"], made.outputs["change"], made.outputs["destroy"]) == ("1", "0", "0")
    assert made.outputs["lock-id"]
    assert "✅ Applied: " in made.steps["run"].summary
    assert "ana@" in made.steps["run"].summary
    assert made.stage.resources() == ["terraform_data.work"]


def test_a_plan_is_reviewed_in_a_comment_and_only_that_one_is_applied(job: Callable[..., Job]) -> None:
    pull = {"GITHUB_REF": "refs/pull/5/merge", "GITHUB_REPOSITORY": "acme/infra"}
    commented = {"comment": "true", "github-token": "ghs_for-the-comment", "command": "plan"}

    with served(Site("github")) as site:
        planned = job(commented, GITHUB_API_URL=site.url, **pull)
        codes = [planned.run()]
        reviewed = planned.outputs["fingerprint"]
        base = {**planned.inputs, **APPLY, "comment": "false"}
        applied = replace(planned, inputs={**base, "expect": reviewed}, steps={})
        other = replace(planned, inputs={**base, "expect": "p1-" + "0" * 40}, steps={})
        codes += [other.run(), applied.run()]

    assert codes == [0, 78, 0], planned.steps["run"].out + other.steps["run"].out + applied.steps["run"].out
    assert reviewed in site.bodies[0] and len(site.bodies) == 1
    assert "outcome=plan-changed" in other.steps["run"].out


def test_a_plan_is_saved_counted_and_private(job: Callable[..., Job]) -> None:
    made = job({"command": "plan", "args": "-detailed-exitcode"})

    code = made.run()

    assert code == 0, made.steps["run"].out
    outputs = made.outputs
    assert outputs["exit-code"] == "2"
    assert (outputs["has-changes"], outputs["add"]) == ("true", "1")
    assert PATTERN.fullmatch(outputs["fingerprint"])
    for name in ("plan-path", "plan-json-path"):
        assert Path(outputs[name]).stat().st_mode & 0o777 == 0o600
    assert "<code>terraform_data.work</code>" in made.steps["run"].summary
    assert "1 to add." in made.steps["run"].summary


def test_a_plan_whose_arguments_only_terraform_can_read_is_told_as_every_other_is(job: Callable[..., Job]) -> None:
    made = job({"command": "plan"}, TF_CLI_ARGS_plan=r"-detailed-exitcode -no-color -var=hold=\n")

    code = made.run()

    ran = made.steps["run"]
    assert code == 0, ran.out
    assert (made.outputs["exit-code"], made.outputs["has-changes"], made.outputs["add"]) == ("2", "true", "1")
    assert Path(made.outputs["plan-path"]).is_file()
    assert "1 to add." in ran.summary
    assert "::stop-commands::" in ran.out
    assert "only Terraform can be certain how it reads TF_CLI_ARGS_plan." in ran.out
    assert made.outputs.get("lock-id", "") == ""


def test_arguments_that_terraform_refuses_are_told_with_its_own_words_and_status(job: Callable[..., Job]) -> None:
    made = job({"command": "plan"}, TF_CLI_ARGS_plan='-var "hold=1')

    code = made.run()

    assert (code, made.outputs["exit-code"], made.outputs["outcome"]) == (1, "1", "failed")
    assert "Error parsing extra CLI args from TF_CLI_ARGS_plan" in made.steps["run"].out


def test_terraforms_text_cannot_command_the_runner(job: Callable[..., Job]) -> None:
    made = job(APPLY, text='output "x" {\n  value = "\\n::error::planted\\n"\n}\n')

    made.run()

    lines = made.steps["run"].out.splitlines()
    token = next(line for line in lines if line.startswith("::stop-commands::")).removeprefix("::stop-commands::")
    at = next(index for index, line in enumerate(lines) if "planted" in line)
    assert lines.index(f"::stop-commands::{token}") < at < lines.index(f"::{token}::")


def test_data_is_never_fenced(job: Callable[..., Job]) -> None:
    made = job({"command": "plan", "args": "-json"})

    assert made.run() == 0, made.steps["run"].out

    assert "::group::" not in made.steps["run"].out
    assert "::stop-commands::" not in made.steps["run"].out


@pytest.mark.slow
def test_a_cancel_in_mid_apply_leaves_a_whole_state_no_lock_and_the_story(job: Callable[..., Job]) -> None:
    made = job(APPLY, backend="dynamodb", TF_VAR_hold="120")
    step = made.start("run")
    made.stage.wait_for_log("begin", timeout=60)

    cancel_on_github(step.process)
    step.end()
    settled = made.start("settle")
    code = settled.end()

    assert code == 0, settled.out
    assert made.stage.locks() == []
    assert made.stage.resources() == ["terraform_data.work"]
    assert (made.outputs["outcome"], made.outputs["exit-code"]) == ("interrupted", "130")
    assert "stopped (exit 130)" in step.summary + settled.summary
    assert "Interrupt received" in step.summary + settled.summary


@pytest.mark.slow
def test_settle_tells_the_story_of_a_run_step_that_was_killed(job: Callable[..., Job]) -> None:
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
    assert "<h3>❌" in settled.summary


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
        ({"command": "plan", "comment": "yes"}, "`comment` is neither true nor false"),
    ],
)
def test_bad_input_is_one_annotation_that_says_what_to_do(
    job: Callable[..., Job], inputs: dict[str, str], words: str
) -> None:
    made = job(inputs, PATH="/usr/bin:/bin")

    codes = [made.start(name).end() for name in ("run", "settle")]

    assert codes == [64, 0], made.steps["run"].out
    assert len(made.annotations) == 1
    assert words in made.annotations[0]
    assert (made.outputs["exit-code"], made.outputs["outcome"]) == ("64", "usage-error")


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ({"command": "run other", "pipeline": "prod"}, 64, "-p says prod, the argument says other"),
        ({"command": "plan", "pipeline": "prodd"}, 78, "prodd"),
        ({"command": "plan", "lock-timeout": "soon"}, 64, "--lock-timeout"),
        ({"command": "plan", "takeover": "sometimes"}, 78, "TFGUARD_LOCK_TAKEOVER"),
        ({"command": "plan", "terraform-path": "/no/terraform"}, 127, "--terraform names /no/terraform"),
        ({"command": "plan", "config": "no.yml"}, 78, "no.yml"),
    ],
)
def test_what_tfguard_itself_refuses_is_one_annotation_too(
    job: Callable[..., Job], inputs: dict[str, str], code: int, words: str
) -> None:
    made = job(inputs)
    (made.stage.path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod: {}\n")

    codes = [made.start(name).end() for name in ("run", "settle")]

    assert codes == [code, 0], made.steps["run"].out
    assert len(made.annotations) == 1, made.steps["run"].out
    assert words in made.annotations[0]
    assert made.outputs["exit-code"] == str(code)


def put_wrapper(job: Job, folder: Path) -> None:
    """Put setup-terraform's wrapper first on the PATH: a Node script that hands no signal on."""
    folder.mkdir()
    (folder / "terraform").write_text("#!/usr/bin/env node\nthrow new Error('the wrapper ran')\n")
    (folder / "terraform").chmod(0o755)
    job.environ = {**job.environ, "PATH": f"{folder}:/usr/bin:/bin"}


def test_setup_terraforms_wrapper_is_seen_through(job: Callable[..., Job], tmp_path: Path) -> None:
    made = job({"command": "plan"})
    put_wrapper(made, tmp_path / "setup")
    (tmp_path / "setup/terraform-bin").symlink_to(parts.terraform())

    code = made.run()

    assert code == 0, made.steps["run"].out
    assert made.annotations == []


def test_a_wrapper_without_its_terraform_is_one_annotation(job: Callable[..., Job], tmp_path: Path) -> None:
    made = job({"command": "plan"})
    put_wrapper(made, tmp_path / "setup")

    code = made.run()

    assert code == 127
    assert len(made.annotations) == 1
    assert "terraform_wrapper: false" in made.annotations[0]


# --- a job's container: ---------------------------------------------------------------------------------------------

#: What the runner sets inside it. It enters by `docker exec`: no signal reaches a step.
IN_CONTAINER = {"GITHUB_WORKSPACE": "/__w/infra/infra"}


def test_a_job_in_a_container_is_told_once_that_no_signal_reaches_it(job: Callable[..., Job]) -> None:
    made = job({"command": "version"}, **IN_CONTAINER)

    code = made.run()

    assert code == 0
    (annotation,) = made.annotations
    assert annotation.startswith("::notice ")
    assert "Take `container:` out of the job" in annotation


@pytest.mark.slow
def test_in_a_container_the_last_step_stops_what_a_cancel_could_not(job: Callable[..., Job]) -> None:
    made = job(APPLY, backend="dynamodb", TF_VAR_hold="120", **IN_CONTAINER)
    step = made.start("run")
    made.stage.wait_for_log("begin", timeout=60)

    settled = made.start("settle").end()
    code = step.end()

    assert (settled, code) == (0, -signal.SIGTERM), step.out
    assert step.out.count("Interrupt received") == 1
    assert made.stage.locks() == []
    assert made.stage.resources() == ["terraform_data.work"]


def test_in_a_container_a_cancelled_job_does_not_get_the_lock_after_all(job: Callable[..., Job]) -> None:
    made = job(APPLY, text=GATED, backend="dynamodb", **IN_CONTAINER)
    holder = made.stage.start_tfguard("apply", "-auto-approve")
    made.stage.wait_for_log("begin")
    step = made.start("run")
    eventually(lambda: "tfguard.__main__" in " ".join(psutil.Process(step.process.pid).cmdline()), what="a tfguard")

    settled = made.start("settle").end()
    code = step.end()
    made.stage.open_gate()
    holder.communicate(timeout=patience(20))

    assert (settled, code) == (0, -signal.SIGTERM), step.out
    assert made.stage.log_lines() == ["begin", "end"]
