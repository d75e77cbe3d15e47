"""In Terraform's place: what is not ours to lock is Terraform's, byte for byte; what is, prints the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.e2e.conftest import LOCKED, TFGUARD, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\noutput "it" {\n  value = terraform_data.a.output\n}\n'

#: Passed through untouched: the same output and exit status.
UNTOUCHED: dict[str, tuple[str, ...]] = {
    "version": ("version",),
    "dash-version": ("-version",),
    "version-json": ("version", "-json"),
    "help": ("-help",),
    "help-of-a-command": ("apply", "-help"),
    "bare": (),
    "output-json": ("output", "-json"),
    "output-raw": ("output", "-raw", "it"),
    "output-missing": ("output", "nosuch"),
    "fmt-check": ("fmt", "-check", "-diff"),
    "show-json": ("show", "-json"),
    "state-list": ("state", "list"),
    "state-pull": ("state", "pull"),
    "validate": ("validate", "-json"),
    "unknown": ("aply",),
    "bad-flag": ("output", "-nosuch"),
    "chdir-without-a-directory": ("-chdir", "plan"),
    "version-of-elsewhere": ("-version", "-chdir=..", "plan"),
}


@pytest.fixture
def applied(stage: Make) -> Stage:
    made = stage("both", text=STILL)
    (made.path / "ugly.tf").write_text("locals {\n      ugly=1\n}\n")
    assert made.terraform(*APPLY).code == 0
    return made


def test_what_takes_no_lock_is_terraforms_byte_for_byte(applied: Stage) -> None:
    for name, words in UNTOUCHED.items():
        plain, ours = applied.terraform(*words), applied.tfguard(*words)

        assert (ours.code, ours.out, ours.err) == (plain.code, plain.out, plain.err), name


@pytest.fixture
def linked(applied: Stage) -> Stage:
    """tfguard under the name of Terraform, first on the PATH."""
    script = applied.path.parent / "tfguard"
    script.write_text(f"#!{sys.executable}\nfrom tfguard.__main__ import main\nmain()\n")
    script.chmod(0o755)
    folder = applied.path.parent / "linked"
    folder.mkdir()
    for name in ("terraform", "tofu"):
        (folder / name).symlink_to(script)
    applied.environ["REAL"] = shutil.which("terraform") or ""
    applied.environ["PATH"] = f"{folder}:{applied.environ['PATH']}"
    return applied


#: More than `UNTOUCHED`: what tfguard under its own name takes for itself.
TAKEN: dict[str, tuple[str, ...]] = {
    "two-dashes-version": ("--version",),
    "two-dashes-help": ("--help",),
    "own-command": ("status",),
    "own-option": ("--report", "x.md", "plan"),
    "no-such-directory": ("-chdir=nowhere", "plan"),
    "chdir": ("-chdir=.", "output"),
}


def test_under_terraforms_name_everything_is_terraforms_byte_for_byte(linked: Stage) -> None:
    for name, words in {**UNTOUCHED, **TAKEN}.items():
        plain, ours = linked.run([linked.environ["REAL"], *words]), linked.run(["terraform", *words])

        assert (ours.code, ours.out, ours.err) == (plain.code, plain.out, plain.err), name


def test_under_terraforms_name_a_change_takes_the_lock_and_the_name_says_which_program(linked: Stage) -> None:
    planned = linked.run(["terraform", "plan", "-no-color"])
    without = linked.run(["tofu", "plan"], PATH=f"{linked.path.parent}/linked:/usr/bin:/bin")

    assert planned.code == 0 and re.search(LOCKED, planned.err), str(planned)
    assert (without.code, without.out) == (127, "") and "no tofu on PATH" in without.err, str(without)


def test_after_two_dashes_everything_is_terraforms(applied: Stage) -> None:
    plain, ours = applied.terraform("plan", "-no-color"), applied.tfguard("--", "plan", "-no-color")

    assert (ours.code, ours.out, ours.err) == (plain.code, plain.out, plain.err)


def test_what_is_passed_through_becomes_terraform_itself(applied: Stage) -> None:
    with running(applied.start_afresh("console")) as ours:
        process = psutil.Process(ours.pid)
        eventually(lambda: process.name() == "terraform", 30, "the same pid is Terraform")
        children = [each.name() for each in process.children(recursive=True)]

    assert not [name for name in children if "python" in name], children


def test_the_child_of_a_passed_through_command_gets_no_setting_of_ours(applied: Stage) -> None:
    spy = applied.path.parent / "terraform-spy"
    spy.write_text("#!/bin/sh\nenv | sort\n")
    spy.chmod(0o755)
    applied.environ["TFGUARD_TERRAFORM"] = str(spy)

    plain, ours = applied.run([str(spy)]), applied.tfguard("output")

    assert ours.out == plain.out


@pytest.mark.parametrize("words", [("plan", "-no-color"), ("apply", "-no-color", "-auto-approve")])
def test_under_the_lock_stdout_is_terraforms_byte_for_byte(applied: Stage, words: tuple[str, ...]) -> None:
    plain = applied.terraform(*words)

    ours = applied.tfguard(*words)

    assert "Acquiring" not in plain.out
    assert ours.code == plain.code == 0
    assert ours.out == plain.out


def test_json_under_the_lock_is_terraforms_but_for_the_times(applied: Stage) -> None:
    def events(out: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in out.splitlines()]
        return [{key: value for key, value in line.items() if key != "@timestamp"} for line in lines]

    plain, ours = applied.terraform("plan", "-json"), applied.tfguard("plan", "-json")

    assert events(ours.out) == events(plain.out)


# --- without the lock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (("plan", "-lock=false"), {}),
        (("plan",), {"TF_CLI_ARGS": "-lock=false"}),
        (("plan",), {"TF_CLI_ARGS_plan": "-lock=false -no-color"}),
    ],
    ids=["argv", "environment", "environment-of-the-command"],
)
def test_lock_false_runs_without_the_lock_and_says_so_in_one_line(
    applied: Stage, words: tuple[str, ...], environ: dict[str, str]
) -> None:
    plain = applied.terraform(*words, **environ)

    ours = applied.tfguard(*words, **environ)

    said = ours.err.removesuffix(plain.err).splitlines()
    assert (ours.code, ours.out) == (0, plain.out), str(ours)
    assert len(said) == 1 and "-lock=false" in said[0], said


def test_lock_false_does_not_wait_for_a_held_lock(stage: Make) -> None:
    made = stage("both", text=STILL)
    with running(made.start_afresh("exec", "--", "sh", "-c", "until test -e gate; do sleep 0.05; done")) as holder:
        made.wait_for_lock()
        result = made.tfguard("plan", "-lock=false", "-input=false")
        made.open_gate()
        held = holder.end()

    assert (result.code, held.code) == (0, 0), str(result)


@pytest.mark.parametrize("words", [("plan", "-p", "prod"), ("plan", "--config=x.yml"), ("apply", "--verbose")])
def test_an_option_of_ours_after_the_command_exits_64_before_anything(stage: Make, words: tuple[str, ...]) -> None:
    made = stage("local", text=STILL, is_initialised=False)
    before = sorted(made.path.iterdir())

    result = made.tfguard(*words)

    assert result.code == 64, str(result)
    assert f"`{words[1].partition('=')[0]}` belongs before the command: tfguard " in result.err
    assert sorted(made.path.iterdir()) == before


# --- under Terraform's name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["script", "symlink"])
def test_installed_under_terraforms_name_it_finds_the_real_one(stage: Make, kind: str) -> None:
    made = stage("local", text=STILL)
    folder = made.path.parent / "bin"
    folder.mkdir()
    real = folder / "tfguard"
    real.write_text(f"#!{TFGUARD[0]}\nimport runpy\nrunpy.run_module('tfguard', run_name='__main__')\n")
    real.chmod(0o755)
    ours = folder / "terraform"
    if kind == "symlink":
        ours.symlink_to(real)
    else:
        ours.write_text('#!/bin/sh\nexec tfguard "$@"\n')
        ours.chmod(0o755)
    made.environ["PATH"] = f"{folder}{os.pathsep}{made.environ['PATH']}"

    version = made.terraform("version")
    result = made.terraform(*APPLY)

    assert version.out.startswith("Terraform v"), str(version)
    assert result.code == 0, str(result)
    assert ": locked" in result.err
    assert made.resources() == ["terraform_data.a"]


# --- on a terminal --------------------------------------------------------------------------------------------------


def test_a_prompt_without_a_newline_appears_at_once(stage: Make) -> None:
    made = stage("local", text=STILL)
    shim = made.path.parent / "terraform-that-asks"
    shim.write_text(
        '#!/bin/sh\ncase "$1" in version) exec terraform "$@";; esac\n'
        'printf "Enter a value: "; read answer; echo "got $answer" | tee answered\n'
    )
    shim.chmod(0o755)
    environ = {**made.environ, "TFGUARD_TERRAFORM": str(shim)}

    terminal = pexpect.spawn(
        TFGUARD[0], [*TFGUARD[1:], "apply"], cwd=str(made.path), env=environ, timeout=patience(10), encoding="utf-8"
    )
    terminal.expect("Enter a value: ")
    has_answer = Path(made.path, "answered").exists()
    terminal.sendline("yes")
    terminal.expect("got yes")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert not has_answer
    assert terminal.exitstatus == 0


def test_a_prompt_through_a_pipe_appears_at_once(stage: Make) -> None:
    made = stage("local", text=STILL)
    shim = made.path.parent / "terraform-that-asks"
    shim.write_text(
        '#!/bin/sh\ncase "$1" in version) exec terraform "$@";; esac\nprintf "Enter a value: "; read answer\n'
    )
    shim.chmod(0o755)

    process = made.start_afresh("apply", TFGUARD_TERRAFORM=str(shim))
    assert process.stdout
    shown = os.read(process.stdout.fileno(), 100)
    process.communicate("yes\n", timeout=patience(20))

    assert shown == b"Enter a value: "
    assert process.returncode == 0


def test_every_message_names_the_state_first(applied: Stage) -> None:
    result = applied.tfguard("plan", "-no-color")

    first = result.err.splitlines()[0]
    assert re.match(rf"{applied.bucket}/{applied.key}: {LOCKED}[0-9a-f-]+\)\.$", first), result.err


ASKED = 'variable "word" {}\noutput "word" { value = var.word }\n'


@pytest.mark.parametrize("environ", [{}, {"CI": "true", "GITHUB_ACTIONS": "true"}], ids=["laptop", "CI"])
def test_what_is_piped_in_terraform_may_read(stage, environ) -> None:
    made = stage("local", text=ASKED)
    (made.path / "in").write_text("hello\n")

    result = made.run(["sh", "-c", f"{' '.join(TFGUARD)} plan -no-color < in"], **environ)

    assert result.code == 0, str(result)
    assert '+ word = "hello"' in result.out


def test_a_named_lock_is_taken_whatever_only_terraform_can_read(stage: Make) -> None:
    made = stage("local", text=STILL)
    lock = f"{{mode: named, name: deploy, store: 'file://{made.path.parent}/locks'}}"
    (made.path / "tfguard.yml").write_text(f"version: 1\npipelines:\n  a: {{lock: {lock}}}\n")

    result = made.tfguard("-p", "a", "apply", "-auto-approve", TF_CLI_ARGS_apply="-parallelism=3 `a`=1 -no-color")
    planned = made.tfguard("-p", "a", "plan", TF_CLI_ARGS_plan=r"-no-color -target=\terraform_data.a")

    assert (planned.code, bool(re.search(LOCKED, planned.err))) == (0, True), str(planned)
    assert "only Terraform" not in planned.err
    assert result.code == 1 and re.search(LOCKED, result.err), str(result)  # Terraform refuses it, under the lock.
