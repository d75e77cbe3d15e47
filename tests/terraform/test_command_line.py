from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import parts
from tfguard.config.options import OURS_ALONE
from tfguard.terraform.command_line import (
    child_arguments,
    misplaced_option,
    native_arguments,
    parse,
    with_flags,
)
from tfguard.terraform.commands import COMMANDS

LOCKED = [words for words, row in COMMANDS.items() if row.takes_lock]


def verdict(line: str, **environ: str) -> str:
    return parse(shlex.split(line), environ).verdict


def child(line: str, **environ: str) -> str:
    return shlex.join(child_arguments(parse(shlex.split(line), environ), environ)[0])


@pytest.mark.parametrize("words", LOCKED)
def test_every_command_of_the_table_is_locked(words: tuple[str, ...]) -> None:
    found = parse([*words, "-no-color"], {})

    assert (found.verdict, found.words, found.command) == ("lock", words, COMMANDS[words])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-version",
        "version -json",
        "output -json",
        "init -migrate-state",
        "workspace new stage",
        "workspace select stage",
        "console",
        "force-unlock abc",
        "state list",
        "state pull",
        "state",
        "frobnicate --hard",
        "-no-color apply",
        "plan -help",
        "plan -var -h",
        "apply -auto-approve --version",
        "apply planfile -v",
        "plan -state=other.tfstate",
        "state mv -state-out x a b",
        "apply -backup=-",
        "apply -lock=no",
        "apply -lock-timeout=10",
        "apply -lock-timeout",
        "apply ---auto-approve",
        "apply -=x",
        "apply -later value planfile",
        "-chdir apply",
    ],
)
def test_what_is_not_surely_ours_is_left_to_terraform(line: str) -> None:
    found = parse(shlex.split(line), {})

    assert found.verdict == "pass"
    assert found.reason


def test_the_first_chdir_before_the_command_is_taken_off() -> None:
    found = parse(["-chdir=net work", "apply", "-chdir=other"], {})

    assert (found.chdir, found.argv) == ("net work", ("apply", "-chdir=other"))


@pytest.mark.parametrize("line", ["-chdir plan", "-chdir= apply", "-chdir", "-version -chdir=x plan"])
def test_a_chdir_that_terraform_has_to_judge_is_handed_on(line: str) -> None:
    """Without it, Terraform would go to work in the directory that we are in."""
    found = parse(shlex.split(line), {})

    assert (found.verdict, found.argv) == ("pass", tuple(shlex.split(line)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("apply", "apply -lock=false"),
        ("apply tfplan", "apply -lock=false tfplan"),
        ("apply -lock=true -auto-approve tfplan", "apply -auto-approve -lock=false tfplan"),
        ("apply --lock --lock-timeout=3s", "apply -lock=false"),
        ("plan -lock-timeout 3s -out tfplan", "plan -out tfplan -lock=false"),
        ("plan -var -lock=true", "plan -var -lock=true -lock=false"),
        ("import -var a=b module.x id", "import -var a=b -lock=false module.x id"),
        ("state rm -- -lock=true", "state rm -lock=false -- -lock=true"),
        ("state mv a b -lock=true", "state mv -lock=false a b -lock=true"),
        ("state push -", "state push -lock=false -"),
        ("plan -target=a -target b -later", "plan -target=a -target b -later -lock=false"),
        ("import '' id", "import -lock=false '' id"),
    ],
)
def test_the_child_is_told_last_that_the_lock_is_not_its_business(line: str, expected: str) -> None:
    assert child(line) == expected


def test_environment_comes_before_argv_and_the_general_variable_last() -> None:
    environ = {"TF_CLI_ARGS_plan": "-lock-timeout=1s -out=a", "TF_CLI_ARGS": "-lock-timeout 2s"}

    assert parse(["plan"], environ).lock_timeout_seconds == 2
    assert parse(["plan", "-lock-timeout=3s"], environ).lock_timeout_seconds == 3
    assert parse(["plan"], environ).flag("out") == "a"
    assert parse(["apply"], environ).flag("out") is None


def test_the_last_lock_flag_decides() -> None:
    assert verdict("apply", TF_CLI_ARGS="-lock=false") == "unlocked"
    assert verdict("apply -lock=1", TF_CLI_ARGS_apply="-lock=false") == "lock"
    assert verdict("apply -lock=true --lock=F") == "unlocked"
    assert verdict("state mv a b", TF_CLI_ARGS_state_mv="-lock=false") == "unlocked"
    assert verdict("state replace-provider a b", TF_CLI_ARGS_state_replace_provider="-lock=0") == "unlocked"


def test_lock_flags_leave_the_variables_and_nothing_else_does() -> None:
    environ = {
        "TF_CLI_ARGS": "-lock=true",
        "TF_CLI_ARGS_plan": "-var 'greeting=hello world' -lock-timeout 5m -no-color",
        "TF_CLI_ARGS_apply": "-lock-timeout=1s",
        "HOME": "/home/ana",
    }

    argv, changed = child_arguments(parse(["plan"], environ), environ)

    assert argv == ["plan", "-lock=false"]
    assert changed["TF_CLI_ARGS"] == ""
    assert shlex.split(changed["TF_CLI_ARGS_plan"]) == ["-var", "greeting=hello world", "-no-color"]
    assert {key: changed[key] for key in ("HOME", "TF_CLI_ARGS_apply")} == {
        key: environ[key] for key in ("HOME", "TF_CLI_ARGS_apply")
    }


@pytest.mark.parametrize(
    "text",
    ["-var 'a", r"-var a\tb", "-var `id`", "-var $(id)", "-var a=(1)", "-var 2a>b", "tfplan", "-- x", "-var ''", "-h"],
)
def test_variables_that_only_terraform_can_read_are_left_to_it(text: str) -> None:
    found = parse(["apply"], {"TF_CLI_ARGS": text})

    assert (found.verdict, found.is_unread) == ("pass", text != "-h")
    assert found.command is not None  # It is still an apply, on a page too.


@pytest.mark.parametrize(
    ("text", "value"),
    [(r"-var=v=a\\b", r"v=a\b"), (r'-var "v=a\"b"', 'v=a"b'), ("-var=v=1;id", "v=1"), (r"-var v=a\;b", "v=a;b")],
)
def test_variables_are_read_as_terraform_reads_them_not_as_a_shell_does(text: str, value: str) -> None:
    found = parse(["plan"], {"TF_CLI_ARGS_plan": text})

    assert (found.verdict, found.flag("var")) == ("lock", value)


def test_what_a_variable_seems_to_say_is_known_where_only_terraform_is_certain() -> None:
    found = parse(["plan"], {"TF_CLI_ARGS_plan": r"-var=v=a\tb -detailed-exitcode -out=p"})

    assert (found.verdict, found.flag("out"), found.is_set("detailed-exitcode")) == ("pass", "p", True)


def test_a_value_may_follow_from_a_variable_into_the_arguments() -> None:
    environ = {"TF_CLI_ARGS": "-lock-timeout"}

    argv, changed = child_arguments(parse(["plan", "5m", "-no-color"], environ), environ)

    assert (argv, changed["TF_CLI_ARGS"]) == (["plan", "-no-color", "-lock=false"], "")


def test_terraform_gets_what_is_left_of_the_budget_where_it_locks_itself() -> None:
    assert native_arguments(parse(["apply", "tfplan"], {}), 41.9) == ["apply", "-lock-timeout=41s", "tfplan"]
    assert native_arguments(parse(["apply", "-lock-timeout=3s"], {}), 41.9) == ["apply", "-lock-timeout=3s"]
    assert native_arguments(parse(["apply", "-lock=false"], {}), 41.9) == ["apply", "-lock=false"]
    assert native_arguments(parse(["output"], {}), 41.9) == ["output"]


def test_flags_and_positionals_can_be_asked_for() -> None:
    found = parse(["-chdir=a", "apply", "-var", "x=1", "-input=false", "-auto-approve", "tf plan"], {})

    assert (found.plan_file, found.positionals) == ("tf plan", ("tf plan",))
    assert (found.flag("var"), found.is_set("auto-approve"), found.is_set("input")) == ("x=1", True, False)
    assert parse(["state", "mv", "a", "b"], {}).plan_file is None
    assert with_flags(found, ["-var-file=a"], {}).argv[:2] == ("apply", "-var-file=a")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("apply", True),
        ("apply -lock=false", True),
        ("apply -state=other.tfstate", True),
        ("workspace new stage", True),
        ("output -json", True),
        ("state frobnicate", True),
        ("plan -help", False),
        ("state mv -h", False),
        ("fmt", False),
        ("init", False),
        ("frobnicate", False),
        ("", False),
    ],
)
def test_what_reads_the_backend_needs_it_initialised_with_our_lock_or_without(line: str, *, expected: bool) -> None:
    assert parse(shlex.split(line), {"TF_CLI_ARGS": "-var $(id)"}).reads_backend is expected
    assert parse(shlex.split(line), {}).reads_backend is expected


def test_secrets_among_the_arguments_are_not_shown() -> None:
    found = parse(["apply", "-var", "password=hunter2"], {"TF_CLI_ARGS": "-var=token=hunter2"})

    assert found.verdict == "lock"
    assert found.display == "apply"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("apply -p prod", "-p"),
        ("apply -p=prod", "-p"),
        ("plan -out x --pipeline prod", "--pipeline"),
        ("state mv a b --config=x", "--config"),
        ("plan -chdir=x", "-chdir"),
        ("output --quiet", "--quiet"),
        ("plan --terraform tofu", "--terraform"),
        ("plan --lock-timeout=3s", None),
        ("apply -- -p", None),
        ("plan -var -p", None),
        ("plan -out -p -p", "-p"),
        ("import --config=dir a b", None),
        ("test --verbose", None),
        ("future -p x", None),
        ("-p x apply", None),
        ("plan -parallelism=3", None),
    ],
)
def test_our_options_behind_a_command_are_found(line: str, option: str | None) -> None:
    assert misplaced_option(shlex.split(line), OURS_ALONE) == option


FLAGS = st.sampled_from(
    shlex.split(
        "-no-color -var a=b -var=c=d -lock -lock=true --lock-timeout=3s -lock-timeout 3s -out tfplan -- - -later"
        " -input=false -target 'x y' '' \"ünï 'code'\""
    )
)
LINES = st.lists(FLAGS, max_size=6)


@given(st.sampled_from(LOCKED), LINES, LINES, LINES)
def test_no_other_argument_is_ever_changed(
    words: tuple[str, ...], argv: list[str], general: list[str], own: list[str]
) -> None:
    own_variable = "TF_CLI_ARGS_" + "_".join(words).replace("-", "_")
    environ = {"TF_CLI_ARGS": shlex.join(general), own_variable: shlex.join(own)}
    found = parse([*words, *argv], environ)

    if found.verdict != "lock":
        return
    line, changed = child_arguments(found, environ)

    merged = [*shlex.split(changed[own_variable]), *shlex.split(changed["TF_CLI_ARGS"]), *line[len(words) :]]
    at = len(merged) - 1 - merged[::-1].index("-lock=false")
    kept = [token.word for token in found.tokens[len(words) :] if token.name not in ("lock", "lock-timeout")]
    assert merged[:at] + merged[at + 1 :] == kept
    again = parse(line, changed)
    assert (again.verdict, again.positionals, again.lock_timeout_seconds) == ("unlocked", found.positionals, None)


@given(st.lists(st.text(max_size=8) | FLAGS, max_size=6), st.text(max_size=20))
def test_nothing_on_a_command_line_makes_parsing_fail(argv: list[str], variable: str) -> None:
    found = parse(argv, {"TF_CLI_ARGS": variable, "TF_CLI_ARGS_apply": variable})

    assert found.verdict in ("lock", "pass", "unlocked")
    misplaced_option(argv, OURS_ALONE)


@pytest.fixture
def outside(tmp_path: Path) -> Mapping[str, str]:
    """An environment for the real Terraform, with an empty directory as its home."""
    parts.terraform()
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}


@pytest.mark.parametrize("words", LOCKED)
def test_the_real_terraform_accepts_the_flag_where_we_put_it(
    words: tuple[str, ...], outside: Mapping[str, str]
) -> None:
    names = {("import",): ["terraform_data.a", "x"], ("workspace", "delete"): ["nowhere"]}
    extra = names.get(words, ["terraform_data.a", "terraform_data.b"] if words[0] == "state" else [])
    argv, environ = child_arguments(parse([*words, *extra], outside), outside)

    done = subprocess.run(
        ["terraform", *argv], cwd=outside["HOME"], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )

    assert "flag provided but not defined" not in done.stderr + done.stdout
    assert "Too many command line arguments" not in done.stderr
