"""Pipelines of tfguard.yml: each writes its own state, and `run` holds one lock from plan to apply."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import TFGUARD, Result, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]

#: What a pipeline's variables were, for whoever reads the state. `probe` notes the lock that it runs under.
TEXT = """
variable "stage" {
  default = "none"
}
variable "sizes" {
  type    = map(number)
  default = {}
}
resource "terraform_data" "it" {
  input = { stage = var.stage, sizes = var.sizes }
  provisioner "local-exec" {
    command = "echo $TFGUARD_LOCK_ID $COLOUR >> log-${var.stage}"
  }
}
"""

BOTH = """\
version: 1
defaults:
  approve: auto
pipelines:
  dev:
    backend_config: {key: dev/terraform.tfstate}
    vars: {stage: dev, sizes: {a: 1}}
  prod:
    backend_config: {key: prod/terraform.tfstate}
    vars: {stage: prod, sizes: {a: 2}}
"""
ONE = """\
version: 1
pipelines:
  prod:
    approve: auto
    backend_config: {key: prod/terraform.tfstate}
    vars: {stage: prod}
"""


@pytest.fixture
def configured(stage: Make) -> Callable[..., Stage]:
    """A directory with a tfguard.yml, not initialised yet; its backend block names no key."""

    def make(config: str = BOTH, text: str = TEXT) -> Stage:
        made = stage("both", text=text, is_initialised=False)
        block = made.backend_block()
        (made.path / "backend.tf").write_text("".join(line for line in block.splitlines(True) if "  key " not in line))
        (made.path / "tfguard.yml").write_text(config)
        return made

    return make


def stage_of(made: Stage, key: str) -> dict[str, object] | None:
    """The input of the one resource in a state."""
    body = made.s3.body(made.bucket, key)
    if body is None:
        return None
    resources = json.loads(body)["resources"]
    value: dict[str, object] = resources[0]["instances"][0]["attributes"]["input"]["value"]
    return value


def assert_each_wrote_its_own(made: Stage) -> None:
    assert stage_of(made, "dev/terraform.tfstate") == {"stage": "dev", "sizes": {"a": 1}}
    assert stage_of(made, "prod/terraform.tfstate") == {"stage": "prod", "sizes": {"a": 2}}
    assert made.leftovers() == []
    assert made.wrong_digests() == []


# --- two pipelines in one directory ---------------------------------------------------------------------------------


def test_two_pipelines_in_one_directory_write_each_its_own_state(configured: Make) -> None:
    made = configured()

    results = [made.tfguard("run", name) for name in ("dev", "prod", "dev")]

    assert [result.code for result in results] == [0, 0, 0], "".join(map(str, results))
    assert_each_wrote_its_own(made)


def test_two_pipelines_in_one_directory_run_at_once(configured: Make) -> None:
    made = configured()

    with running(made.start_tfguard("run", "dev")) as dev, running(made.start_tfguard("run", "prod")) as prod:
        results = dev.end(), prod.end()

    assert [result.code for result in results] == [0, 0], f"{results[0]}{results[1]}"
    assert_each_wrote_its_own(made)


def test_single_commands_find_their_own_pipeline(configured: Make) -> None:
    made = configured()
    apply = ("apply", "-auto-approve")

    results = [made.tfguard("-p", name, *apply) for name in ("dev", "prod")]
    shown = made.tfguard("-p", "prod", "state", "list")

    assert [result.code for result in results] == [0, 0], "".join(map(str, results))
    assert shown.out.split() == ["terraform_data.it"]
    assert_each_wrote_its_own(made)


# --- initialised for this pipeline ----------------------------------------------------------------------------------


def initialised_for_another(made: Stage) -> Stage:
    result = made.terraform("init", "-input=false", "-backend-config=key=other/terraform.tfstate")
    assert result.code == 0, str(result)
    return made


def test_a_directory_initialised_for_another_key_is_initialised_anew(configured: Make) -> None:
    made = initialised_for_another(configured(ONE))

    result = made.tfguard("-p", "prod", "apply", "-auto-approve")

    assert result.code == 0, str(result)
    assert "Running init first" in result.err
    assert "(key is other/terraform.tfstate, wanted prod/terraform.tfstate)" in result.err
    assert "Terraform has been successfully initialized" not in result.out
    assert stage_of(made, "prod/terraform.tfstate") is not None
    assert stage_of(made, "other/terraform.tfstate") is None


def test_without_the_lock_too_the_variables_of_one_pipeline_never_hit_the_state_of_another(configured: Make) -> None:
    made = configured(ONE)
    assert made.tfguard("init", "-backend-config=key=dev/terraform.tfstate", "-input=false").code == 0

    result = made.tfguard("-p", "prod", "apply", "-auto-approve", "-lock=false")

    assert result.code == 0, result
    assert stage_of(made, "prod/terraform.tfstate") == {"stage": "prod", "sizes": {}}
    assert stage_of(made, "dev/terraform.tfstate") is None


def test_init_never_exits_78_and_names_both_values(configured: Make) -> None:
    made = initialised_for_another(
        configured(ONE.replace("    approve: auto\n", "    approve: auto\n    init: never\n"))
    )

    result = made.tfguard("-p", "prod", "apply", "-auto-approve")

    assert result.code == 78, str(result)
    assert "other/terraform.tfstate" in result.err and "prod/terraform.tfstate" in result.err
    assert made.objects() == []


def test_secret_backend_values_stay_off_every_command_line_and_are_cleared_away(configured: Make) -> None:
    secret = "s3cr3t-of-the-backend"
    made = configured(
        "version: 1\n"
        "pipelines:\n"
        "  prod:\n"
        "    approve: auto\n"
        "    backend_config: {key: prod/terraform.tfstate, access_key: testkey, secret_key: '${BACKEND_SECRET}'}\n"
    )
    scratch = made.path.parent / "scratch"
    scratch.mkdir()
    witness = made.path.parent / "terraform-with-witness"
    witness.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *init*) for each in /proc/[0-9]*/cmdline; do cat $each 2>/dev/null; done > {scratch}.seen;\n'
        f"  ls -lR {scratch} >> {scratch}.seen; cat {scratch}/*/*/* >> {scratch}.inside;; esac\n"
        'exec terraform "$@"\n'
    )
    witness.chmod(0o755)
    made.environ.update(BACKEND_SECRET=secret, TMPDIR=str(scratch), TFGUARD_TERRAFORM=str(witness))

    result = made.tfguard("run", "prod")

    seen, inside = Path(f"{scratch}.seen").read_text(errors="replace"), Path(f"{scratch}.inside").read_text()
    assert result.code == 0, str(result)
    assert "-backend-config=" in seen and "-rw-------" in seen
    assert secret in inside, "the test looked where the values are"
    assert secret not in seen
    assert secret not in result.out + result.err
    assert list(scratch.iterdir()) == []


# --- run ------------------------------------------------------------------------------------------------------------


def test_plan_and_apply_of_a_run_happen_under_one_lock(configured: Make) -> None:
    made = configured(ONE)
    watcher = made.path.parent / "terraform-that-notes"
    watcher.write_text('#!/bin/sh\necho "$1 $TFGUARD_LOCK_ID $TFGUARD_FENCING_TOKEN" >> calls\nexec terraform "$@"\n')
    watcher.chmod(0o755)

    result = made.tfguard("run", "prod", TFGUARD_TERRAFORM=str(watcher))

    calls = [line.split() for line in (made.path / "calls").read_text().splitlines()]
    steps = [call for call in calls if call[0] in ("plan", "apply")]
    inside = (made.path / "log-prod").read_text().split()
    assert result.code == 0, str(result)
    assert [call[0] for call in calls if call[0] in ("init", "plan", "apply")] == ["init", "plan", "apply"]
    assert steps[0][1:] == steps[1][1:]
    assert inside == [steps[0][1]]
    assert result.err.count(": locked") == 1


def test_a_second_run_has_nothing_to_apply(configured: Make) -> None:
    made = configured(ONE)

    first, second = made.tfguard("run", "prod"), made.tfguard("run", "prod")

    assert (first.code, second.code) == (0, 0), f"{first}{second}"
    assert "nothing to apply" in second.err
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        ("-lock=false", {}, "args.plan says -lock=false"),
        ("-state=other.tfstate", {}, "args.plan: -state"),
        ("-refresh=true", {"TF_CLI_ARGS": "-lock=false"}, "TF_CLI_ARGS says -lock=false"),
        ("-refresh=true", {"TF_CLI_ARGS_apply": "-var=a=$(b)"}, "TF_CLI_ARGS"),
    ],
)
def test_what_would_leave_the_lock_is_refused_before_it_is_taken(
    configured: Make, arguments: str, environ: dict[str, str], said: str
) -> None:
    made = configured(f"{ONE}    args: {{plan: ['{arguments}']}}\n")

    result = made.tfguard("run", "prod", **environ)

    assert result.code == 78, str(result)
    assert said in result.err
    assert ": locked" not in result.err
    assert made.leftovers() == []


def test_a_run_of_apply_alone_plans_and_applies_in_one(configured: Make) -> None:
    made = configured(ONE + "    steps: [init, apply]\n    args: {apply: [-parallelism=1]}\n")

    result = made.tfguard("run", "prod")

    assert result.code == 0, str(result)
    assert stage_of(made, "prod/terraform.tfstate") is not None
    assert made.leftovers() == []


def test_approve_prompt_without_a_terminal_exits_78_before_any_lock(configured: Make) -> None:
    made = configured(ONE.replace("auto", "prompt"))

    result = made.tfguard("run", "prod")

    assert result.code == 78, str(result)
    assert "approve" in result.err and "nothing was locked" in result.err
    assert made.objects() == []
    assert not (made.path / ".terraform").exists()


@pytest.mark.parametrize(("answer", "is_applied"), [("yes", True), ("no", False), ("", False)])
def test_approve_prompt_asks_on_the_terminal(configured: Make, answer: str, is_applied: bool) -> None:
    made = configured(ONE.replace("auto", "prompt"))

    terminal = pexpect.spawn(
        TFGUARD[0],
        [*TFGUARD[1:], "run", "prod"],
        cwd=str(made.path),
        env=made.environ,
        timeout=patience(10),
        encoding="utf-8",
    )
    terminal.expect("Only 'yes' is accepted: ")
    held = made.s3.body(made.bucket, "prod/terraform.tfstate.tflock")
    terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert held is not None, "the lock is held while the question stands"
    assert terminal.exitstatus == 0
    assert (stage_of(made, "prod/terraform.tfstate") is not None) == is_applied
    assert ("not approved" in terminal.before) != is_applied
    assert made.leftovers() == []


def test_a_failing_plan_ends_the_run_with_terraforms_status(configured: Make) -> None:
    made = configured(ONE, TEXT + 'resource "terraform_data" "bad" {\n  input = file("missing")\n}\n')

    result = made.tfguard("run", "prod")

    assert result.code == 1, str(result)
    assert "outcome=failed" in result.err
    assert stage_of(made, "prod/terraform.tfstate") is None
    assert made.leftovers() == []


def test_a_failing_apply_ends_the_run_with_terraforms_status(configured: Make) -> None:
    made = configured(ONE, TEXT.replace("echo $TF", "exit 5; echo $TF"))

    result = made.tfguard("run", "prod")

    assert result.code == 1, str(result)
    assert "exit status 5" in result.out + result.err
    assert "outcome=failed" in result.err
    assert made.leftovers() == []


def test_steps_of_plan_alone_apply_nothing(configured: Make) -> None:
    made = configured(ONE.replace("    approve: auto\n", "    steps: [init, plan]\n"))

    result = made.tfguard("run", "prod")

    assert result.code == 0, str(result)
    assert "1 to add" in result.out
    assert stage_of(made, "prod/terraform.tfstate") is None


def test_variables_files_arguments_and_environment_reach_terraform(configured: Make) -> None:
    made = configured(
        "version: 1\n"
        "pipelines:\n"
        "  prod:\n"
        "    approve: auto\n"
        "    backend_config: {key: prod/terraform.tfstate}\n"
        "    vars: {stage: 'quoted \"${WORD:-word}\" $$x'}\n"
        "    var_files: [sizes.tfvars]\n"
        "    args: {plan: [-compact-warnings, -refresh=false]}\n"
        "    env: {COLOUR: green}\n",
        TEXT.replace("log-${var.stage}", "log"),
    )
    (made.path / "sizes.tfvars").write_text("sizes = { b = 7 }\n")
    watcher = made.path.parent / "terraform-that-notes"
    watcher.write_text('#!/bin/sh\necho "$@" >> calls\nexec terraform "$@"\n')
    watcher.chmod(0o755)

    result = made.tfguard("run", "prod", TFGUARD_TERRAFORM=str(watcher))

    calls = (made.path / "calls").read_text()
    assert result.code == 0, str(result)
    assert stage_of(made, "prod/terraform.tfstate") == {"stage": 'quoted "word" $x', "sizes": {"b": 7}}
    assert "-refresh=false" in calls and "quoted" not in calls
    assert "green" in (made.path / "log").read_text()


def test_a_run_waits_for_the_lock_and_two_at_once_both_succeed(configured: Make) -> None:
    gated = TEXT.replace('command = "echo', 'command = "until test -e gate; do sleep 0.05; done; echo')
    made = configured(ONE, gated)
    made.tfguard("-p", "prod", "init")

    with running(made.start_tfguard("run", "prod")) as first:
        first.wait_for("Provisioning with")
        with running(made.start_tfguard("run", "prod")) as second:
            second.wait_for("is held by")
            made.open_gate()
            results: tuple[Result, Result] = first.end(), second.end()

    assert [result.code for result in results] == [0, 0], f"{results[0]}{results[1]}"
    assert "nothing to apply" in results[1].err
    eventually(lambda: made.leftovers() == [], 10, "no lock")
    assert os.path.exists(made.path / "log-prod")


# --- plan here, apply there -----------------------------------------------------------------------------------------


def test_a_plan_overtaken_by_another_run_is_refused_and_that_run_is_named(configured: Make) -> None:
    made = configured(ONE.replace("    approve: auto\n", "    steps: [init, plan]\n    args: {plan: [-out=tfplan]}\n"))
    ana = {"TFGUARD_WHO": "ana@ci-7", "TFGUARD_RUN_URL": "https://ci.example/4812"}

    planned = made.tfguard("run", "prod", TFGUARD_WHO="bob@ci-8")
    between = made.tfguard("-p", "prod", "apply", "-auto-approve", **ana)
    refused = made.tfguard("-p", "prod", "apply", "tfplan", TFGUARD_WHO="bob@ci-8")

    assert (planned.code, between.code, refused.code) == (0, 0, 1), f"{planned}{between}{refused}"
    assert "prod: plan-stale: the state has changed since this plan was made" in refused.err
    assert "Since then: ana@ci-7 (apply, succeeded, " in refused.err
    assert "See: https://ci.example/4812" in refused.err
    assert "bob@ci-8" not in refused.err
    assert "outcome=plan-stale exit_code=1" in refused.err
    assert made.leftovers() == []


def test_a_stale_plan_is_called_so_on_a_terminal_too(stage: Make) -> None:
    made = stage("local")
    assert made.tfguard("plan", "-out=tfplan").code == 0
    assert made.terraform("apply", "-auto-approve").code == 0

    terminal = pexpect.spawn(
        TFGUARD[0],
        [*TFGUARD[1:], "apply", "tfplan"],
        cwd=str(made.path),
        env=made.environ,
        timeout=patience(10),
        encoding="utf-8",
    )
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == 1
    assert "plan-stale: the state has changed since this plan was made" in terminal.before
    assert "No run of tfguard's is known since then: look for a plain Terraform." in terminal.before


# --- the providers that were reviewed -------------------------------------------------------------------------------


def git(made: Stage, *words: str) -> None:
    result = made.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words])
    assert result.code == 0, str(result)


@pytest.fixture
def checkout(configured: Make) -> Stage:
    """A checkout with a lock file in it, and a Terraform that notes how it was called."""
    made = configured(ONE)
    git(made, "init", "--quiet")
    (made.path / ".terraform.lock.hcl").write_text("# This file is maintained automatically.\n")
    git(made, "add", ".terraform.lock.hcl")
    witness = made.path.parent / "terraform-that-notes"
    witness.write_text('#!/bin/sh\necho "$@" >> calls\nexec terraform "$@"\n')
    witness.chmod(0o755)
    made.environ["TFGUARD_TERRAFORM"] = str(witness)
    return made


def inits(made: Stage) -> list[str]:
    return [line for line in (made.path / "calls").read_text().splitlines() if line.startswith("init")]


@pytest.mark.parametrize("words", [["run", "prod"], ["-p", "prod", "plan"]])
def test_in_ci_init_keeps_to_the_lock_file_that_git_tracks(checkout: Stage, words: list[str]) -> None:
    result = checkout.tfguard(*words, CI="true")

    assert result.code == 0, str(result)
    assert [line.split().count("-lockfile=readonly") for line in inits(checkout)] == [1]
    assert checkout.run(["git", "status", "--porcelain", "--", ".terraform.lock.hcl"]).out.startswith("A ")


@pytest.mark.parametrize("case", ["laptop", "untracked", "own init", "TF_CLI_ARGS_init", "args", "upgrade"])
def test_init_is_left_as_it_is_where_the_lock_file_is_the_users_own_matter(checkout: Stage, case: str) -> None:
    environ = {"CI": "true"} if case != "laptop" else {}
    words = ["run", "prod"]
    if case == "untracked":
        git(checkout, "rm", "--quiet", "--cached", ".terraform.lock.hcl")
    elif case == "own init":
        words = ["-p", "prod", "init"]
    elif case == "TF_CLI_ARGS_init":
        environ["TF_CLI_ARGS_init"] = "-lockfile=readonly"
    elif case in ("args", "upgrade"):
        flag = {"args": "-lockfile=readonly", "upgrade": "-upgrade"}[case]
        (checkout.path / "tfguard.yml").write_text(ONE + f"    args: {{init: [{flag}]}}\n")

    result = checkout.tfguard(*words, **environ)

    assert result.code == 0, str(result)
    assert [line.count("-lockfile") for line in inits(checkout)] == [1 if case == "args" else 0]
