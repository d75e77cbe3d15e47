"""What a job shows of a run: outputs, summary, marks around Terraform's text; and what settle makes up for."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import GATED, Result, Stage, stage  # noqa: F401 - a fixture
from tests.e2e.operated import kill_all_of, kill_front_of
from tests.e2e.running import Running, running
from tests.report.page import Rendered
from tests.support import trees
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
LONG_LEASE = {"TFGUARD_LOCK_LEASE": "600s"}


@dataclass
class Job:
    """One job on GitHub, each of its steps a call of tfguard as the action makes it."""

    stage: Stage
    temp: Path
    steps: int = 0

    def environ(self) -> dict[str, str]:
        """The environment of the next step."""
        self.steps += 1
        for path in (self._output, self._summary):
            path.touch()
        return {
            "CI": "true",
            "TFGUARD_CI_LOG": "1",
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "4812",
            "GITHUB_RUN_NUMBER": "12",
            "GITHUB_TRIGGERING_ACTOR": "ana",
            "GITHUB_OUTPUT": str(self._output),
            "GITHUB_STEP_SUMMARY": str(self._summary),
            "GITHUB_WORKSPACE": str(self.stage.path.parent),
            "RUNNER_TEMP": str(self.temp),
        }

    def tfguard(self, *words: str, **environ: str) -> Result:
        return self.stage.tfguard(*words, **self.environ(), **environ)

    @property
    def _output(self) -> Path:
        return self.temp / f"output-{self.steps}"

    @property
    def _summary(self) -> Path:
        return self.temp / f"summary-{self.steps}"

    @property
    def outputs(self) -> dict[str, str]:
        """Those of the last step."""
        found = re.findall(r"^([\w-]+)<<(\S+)\n(.*?)\n\2$", self._output.read_text(), re.DOTALL | re.MULTILINE)
        return {name: value for name, _, value in found}

    @property
    def summary(self) -> Rendered:
        return Rendered(self.markdown)

    @property
    def markdown(self) -> str:
        return self._summary.read_text()

    def left_beside_records(self) -> list[str]:
        return [path.name for path in (self.temp / "tfguard").glob("*") if path.suffix != ".json"]


@pytest.fixture
def job(stage: Make, tmp_path: Path) -> Callable[..., Job]:  # noqa: F811
    def make(backend: str = "local", **facts: str) -> Job:
        temp = tmp_path / "temp"
        temp.mkdir()
        return Job(stage(backend, **facts), temp)

    return make


def working(command: str) -> str:
    return f'resource "terraform_data" "work" {{\n  provisioner "local-exec" {{\n    command = "{command}"\n  }}\n}}\n'


def pipeline(made: Job, text: str) -> None:
    (made.stage.path / "tfguard.yml").write_text(f"version: 1\npipelines:\n  prod:\n    approve: auto\n{text}")


@contextmanager
def terraform_paused(run: Running) -> Iterator[None]:
    """Terraform stands still meanwhile: whatever it is told, the run does not end before we go on."""
    tree = psutil.Process(run.pid).children(recursive=True)
    (terraform,) = trees.named(tree, "terraform")
    terraform.suspend()
    try:
        yield
    finally:
        trees.resume([terraform])


# --- a run that lives -----------------------------------------------------------------------------------------------


def test_a_failed_apply_shows_terraforms_error_and_all_its_text(job: Callable[..., Job]) -> None:
    made = job(text=working("seq 1 5000; exit 7"))

    result = made.tfguard("apply", "-auto-approve")

    assert result.code == 1, str(result)
    assert (made.outputs["exit-code"], made.outputs["outcome"]) == ("1", "failed")
    assert made.summary.outline[0][1].endswith(": failed (exit 1)")
    assert ("p", "Workspace default") in made.summary.outline
    annotation = (
        rf"^::error file={made.stage.path.name}/\w+\.tf,line=\d+,title=Terraform%3A local-exec provisioner error::"
    )
    assert re.search(annotation, result.err, re.MULTILINE), str(result)
    assert "Error: local-exec provisioner error" in made.summary.all("pre")[0]
    assert "exit status 7" in made.summary.all("pre")[0]
    folded = made.summary.all("pre", within="details")[-1]
    assert "bytes left out" not in folded, "there was room for all of it"
    # Terraform's two streams meet in no order that could be told: its error may stand before the last of these lines.
    assert {f"terraform_data.work (local-exec): {number}" for number in range(1, 5001)} <= set(folded.splitlines())
    assert made.summary.broken == []
    assert made.left_beside_records() == []


def test_sensitive_values_stay_masked_in_summary_and_report(job: Callable[..., Job]) -> None:
    text = 'variable "password" {\n  sensitive = true\n}\nresource "terraform_data" "it" {\n  input = var.password\n}\n'
    made = job(text=text + working("echo $TF_VAR_password"))
    report = made.temp / "report.json"
    hidden = "hunter2-hunter2"

    planned = made.tfguard("--report", str(report), "plan", "-input=false", TF_VAR_password=hidden)
    pages = made.markdown + report.read_text()
    applied = made.tfguard("--report", str(report), "apply", "-auto-approve", TF_VAR_password=hidden)
    pages += made.markdown + report.read_text()

    assert (planned.code, applied.code) == (0, 0), f"{planned}{applied}"
    assert "(sensitive value)" in pages
    assert "local-exec): [redacted]" in pages
    assert hidden not in pages


def test_the_steps_of_a_run_have_one_page(job: Callable[..., Job]) -> None:
    made = job()
    pipeline(made, "")

    result = made.tfguard("run", "prod")

    folded = made.summary.all("pre", within="details")[-1]
    assert result.code == 0, str(result)
    assert made.summary.all("h3") == ["✅ Applied: prod"]
    assert "terraform_data.work" in made.summary.all("summary")
    assert folded.index("Terraform has been successfully initialized") < folded.index("Plan: 1 to add")
    assert folded.index("Plan: 1 to add") < folded.index("Apply complete!")
    assert result.out.count("::stop-commands::") == 3
    assert made.left_beside_records() == []


def test_a_failing_init_is_told_with_its_error(job: Callable[..., Job]) -> None:
    made = job(text='module "m" {\n  source = "./nowhere"\n}\n', is_initialised=False)
    pipeline(made, "")

    result = made.tfguard("run", "prod")

    assert result.code == 1, str(result)
    assert made.outputs["outcome"] == "failed"
    assert any("Error: Unreadable module directory" in text for text in made.summary.all("pre"))
    assert made.left_beside_records() == []


def test_who_held_the_lock_is_told_to_those_who_gave_up_and_to_nobody_else(job: Callable[..., Job]) -> None:
    made = job("dynamodb", text=GATED)

    with running(made.stage.start_tfguard("apply", "-auto-approve", TFGUARD_WHO="bob@ci-8")) as holder:
        holder.wait_for_work(made.stage)
        gave_up = made.tfguard("--lock-timeout", "0", "apply", "-auto-approve")
        given_up = made.outputs
        with running(made.stage.start_tfguard("plan", **made.environ())) as plan:
            plan.wait_for("is held by")
            made.stage.open_gate()
            planned = plan.end()

    assert (gave_up.code, planned.code) == (75, 0), f"{gave_up}{planned}"
    assert (given_up["outcome"], json.loads(given_up["lock-holder"])["who"]) == ("lock-timeout", "bob@ci-8")
    assert "::error title=tfguard::" in gave_up.err and "is held by bob@ci-8" in gave_up.err
    assert made.outputs["outcome"] == "succeeded"
    assert "lock-holder" not in made.outputs


# --- without a lock -------------------------------------------------------------------------------------------------


def test_a_plan_without_the_lock_has_counts_plan_and_summary(job: Callable[..., Job]) -> None:
    made = job("dynamodb")
    pipeline(made, "    lock: {plan: skip}\n")

    result = made.tfguard("-p", "prod", "plan", "-detailed-exitcode")

    found = made.outputs
    assert result.code == 0, str(result)
    assert ": locked" not in result.err
    assert (found["outcome"], found["exit-code"]) == ("succeeded", "2")
    assert (found["has-changes"], found["add"], found["destroy"]) == ("true", "1", "0")
    assert Path(found["plan-path"]).exists() and Path(found["plan-json-path"]).stat().st_mode & 0o777 == 0o600
    assert "terraform_data.work" in made.summary.all("summary")
    assert "lock-id" not in found
    assert made.left_beside_records() == []


@pytest.mark.parametrize(
    ("words", "outcome", "code", "head"),
    [
        (("validate",), "succeeded", 0, "✅ Validate: {}: done"),
        (("fmt", "-check"), "failed", 3, "❌ Fmt: {}: failed (exit 3)"),
        (("init", "-input=false"), "succeeded", 0, "✅ Initialised: {}"),
        (("plan", "-lock=false", "-input=false"), "succeeded", 0, "📋 Plan: {}"),
    ],
)
def test_commands_without_a_lock_tell_how_they_ended(
    job: Callable[..., Job], words: tuple[str, ...], outcome: str, code: int, head: str
) -> None:
    made = job(text='resource   "terraform_data" "a" {}\n')

    result = made.tfguard(*words)

    assert result.code == code, str(result)
    assert (made.outputs["outcome"], made.outputs["exit-code"]) == (outcome, str(code))
    assert made.summary.all("h3") == [head.format(made.stage.path)]
    assert "::group::terraform" in result.out
    assert made.left_beside_records() == []


@pytest.mark.parametrize("words", [("output", "-json"), ("show", "-json"), ("version", "-json"), ("validate", "-json")])
def test_data_is_terraforms_own_byte_for_byte(job: Callable[..., Job], words: tuple[str, ...]) -> None:
    made = job()

    result = made.tfguard(*words)

    assert result.out == made.stage.terraform(*words).out
    json.loads(result.out)


def test_a_plan_that_the_environment_makes_json_has_no_marks(job: Callable[..., Job]) -> None:
    made = job()

    result = made.tfguard("plan", TF_CLI_ARGS_plan="-json")

    assert all(json.loads(line) for line in result.out.splitlines())
    assert made.outputs["add"] == "1"


def test_a_command_without_a_lock_stops_cleanly_when_it_is_cancelled(job: Callable[..., Job]) -> None:
    made = job(text=GATED)

    with running(made.stage.start_tfguard("apply", "-lock=false", "-auto-approve", **made.environ())) as apply:
        apply.wait_for_work(made.stage)
        apply.process.send_signal(signal.SIGINT)
        result = apply.end()

    assert result.code == -signal.SIGINT, str(result)
    assert made.outputs["outcome"] == "interrupted"
    assert "Interrupt received" in made.summary.all("pre", within="details")[-1]
    assert made.stage.resources() == ["terraform_data.work"]


# --- a run that was killed ------------------------------------------------------------------------------------------


def test_settle_tells_all_that_a_killed_step_did_not(job: Callable[..., Job]) -> None:
    made = job("dynamodb", text=GATED)
    pipeline(made, "")
    report = made.temp / "report.md"
    words = ("--report", str(report), "run", "prod")

    with running(made.stage.start_tfguard(*words, **made.environ(), **LONG_LEASE)) as run:
        run.wait_for_work(made.stage)
        with terraform_paused(run):
            run.process.send_signal(signal.SIGINT)
            run.wait_for("SIGINT: Terraform is asked once")
            kill_front_of(run.process)
        settled = made.tfguard("settle", "--timeout", "100s")

    found, page = made.outputs, made.summary
    assert settled.code == 0, str(settled)
    assert (found["outcome"], found["exit-code"]) == ("interrupted", "130")
    assert (found["has-changes"], found["add"], found["change"], found["destroy"]) == ("true", "1", "0", "0")
    assert found["lock-id"] and found["fencing-token"] == "1" and float(found["held-seconds"]) > 0
    assert page.all("h3") == ["⏹️ Apply: prod: stopped (exit 130)"]
    assert page.all("strong") == ["To create, not finished"] and "Planned: 1 to add." in page.all("p")
    assert "terraform_data.work" in "".join(page.all("p") + page.all("summary"))
    folded = page.all("pre", within="details")[-1]
    assert "Provisioning with 'local-exec'" in folded, "what the front had read"
    assert "Interrupt received" in folded
    assert page.broken == []
    assert report.read_text() == made.markdown
    assert made.stage.resources() == ["terraform_data.work"]
    assert made.stage.locks() == []
    assert list((made.temp / "tfguard").iterdir()) == []


def test_settle_tells_what_terraform_printed_after_the_front_was_killed(job: Callable[..., Job]) -> None:
    made = job("dynamodb", text=GATED.replace("echo begin", "echo password=hunter2-hunter2; echo begin"))

    with running(made.stage.start_tfguard("apply", "-auto-approve", **made.environ(), **LONG_LEASE)) as run:
        run.wait_for_work(made.stage)
        kill_front_of(run.process)  # The program is then ended by Terraform, and so the apply fails.
        made.tfguard("settle", "--timeout", "100s")

    folded = made.summary.all("pre", within="details")[-1]
    assert (made.outputs["outcome"], made.outputs["exit-code"]) == ("orphaned", "137")
    assert "Interrupt received" in folded, "what the keeper has drained"
    assert "add" not in made.outputs, "what was planned is not what was done"
    assert any("the run ended: orphaned" in text for text in made.summary.all("code"))
    assert "hunter2" not in folded and "password=[redacted]" in folded


def test_settle_makes_the_annotations_for_which_a_killed_step_had_no_time(job: Callable[..., Job]) -> None:
    made = job(text=GATED)

    with running(
        made.stage.start_tfguard("apply", "-auto-approve", **made.environ(), TFGUARD_RUN_TIMEOUT="15s")
    ) as run:
        run.wait_for_work(made.stage)
        with terraform_paused(run):
            run.wait_for("run_timeout")
            kill_front_of(run.process)
        settled = made.tfguard("settle", "--timeout", "100s")

    assert "::error title=tfguard::" not in run.err, "inside the marks nobody would obey it"
    assert settled.err.count("::error title=tfguard::") == 1
    assert any("run_timeout" in text for text in made.summary.all("code"))


def test_settle_tells_of_a_run_whose_every_process_was_killed(job: Callable[..., Job]) -> None:
    made = job("dynamodb", text=GATED)

    with running(made.stage.start_tfguard("apply", "-auto-approve", **made.environ(), **LONG_LEASE)) as run:
        run.wait_for_work(made.stage)
        kill_all_of(run.process)
        settled = made.tfguard("settle", "--timeout", "100s")

    assert settled.code == 0, str(settled)
    assert (made.outputs["outcome"], made.outputs["exit-code"]) == ("orphaned", "137")
    assert any("the lock that it left behind has been released" in text for text in made.summary.all("code"))
    assert made.stage.locks() == []


def test_settle_tells_of_a_killed_run_without_a_lock(job: Callable[..., Job]) -> None:
    made = job(text=GATED)

    with running(
        made.stage.start_tfguard("apply", "-lock=false", "-auto-approve", **made.environ(), **LONG_LEASE)
    ) as run:
        run.wait_for_work(made.stage)
        kill_front_of(run.process)
        settled = made.tfguard("settle")
        made.stage.open_gate()
        eventually(made.stage.resources, 20, "the state that Terraform saves at its end")

    assert "the run was killed; it held no lock." in settled.err
    assert (made.outputs["outcome"], made.outputs["exit-code"]) == ("orphaned", "137")
    assert made.left_beside_records() == []


def test_settle_tells_of_a_run_that_was_killed_while_it_waited(job: Callable[..., Job]) -> None:
    made = job(text=GATED)

    with running(made.stage.start_tfguard("apply", "-auto-approve")) as holder:
        holder.wait_for_work(made.stage)
        with running(made.stage.start_tfguard("plan", **made.environ())) as plan:
            plan.wait_for("is held by")
            kill_front_of(plan.process)
        settled = made.tfguard("settle")
        made.stage.open_gate()
        holder.end()

    assert settled.code == 0, str(settled)
    assert made.outputs["exit-code"] == "137"
    assert made.summary.all("h3")[0].endswith("orphaned (exit 137)")


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_settle_tells_no_story_that_came_with_a_checkout(job: Callable[..., Job], mode: int) -> None:
    made = job()
    folder = made.temp / "tfguard"
    folder.mkdir()
    planted = folder / "x.story"
    planted.write_text(json.dumps({"label": "x", "reports": [{"path": str(made.temp / "r.json"), "limit": 9000}]}))
    planted.chmod(mode)

    settled = made.tfguard("settle")

    assert settled.code == 0, str(settled)
    assert (made.temp / "r.json").exists() == (mode == 0o600)


def test_settle_adds_nothing_to_what_a_living_step_has_told(job: Callable[..., Job]) -> None:
    made = job()
    made.tfguard("apply", "-auto-approve")

    settled = made.tfguard("settle")

    assert settled.code == 0, str(settled)
    assert made.outputs == {}
    assert made.summary.outline == []


def test_what_is_kept_of_a_run_meanwhile_only_its_owner_can_read(job: Callable[..., Job]) -> None:
    made = job(text=GATED)

    with running(made.stage.start_tfguard("apply", "-auto-approve", **made.environ())) as run:
        run.wait_for_work(made.stage)
        kept = {path.suffix: path.stat().st_mode & 0o777 for path in (made.temp / "tfguard").iterdir()}
        made.stage.open_gate()
        run.end()

    assert kept == {".json": 0o600, ".text": 0o600, ".story": 0o600}
    assert made.left_beside_records() == []
