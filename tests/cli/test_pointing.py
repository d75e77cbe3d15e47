"""How who does not know tfguard's own commands comes to know of them, and what of ours may stand behind a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.e2e import forked
from tfguard.cli.main import OWN
from tfguard.config.options import hoisted
from tfguard.errors import UsageError

ROOT = Path(__file__).parents[2]
POINTER = "tfguard: its own commands: "


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A Terraform that shows its words, and a terminal that can be drawn on."""
    terraform = tmp_path / "terraform"
    terraform.write_text('#!/bin/sh\necho "Terraform: $*"\n')
    terraform.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TERM": "xterm"}


def on_a_terminal(words: list[str], environ: dict[str, str]) -> str:
    said: str = pexpect.run(
        f"{sys.executable} -m tfguard {' '.join(words)}", env=environ, encoding="utf-8", timeout=60
    ).replace("\r\n", "\n")
    return said


def tfguard(words: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return forked.completed(words, Path.cwd(), environ)


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["-help"]], ids=["nothing", "help", "-h", "-help"])
def test_help_on_a_terminal_names_our_own_commands(words: list[str], environ: dict[str, str]) -> None:
    shown, piped = on_a_terminal(words, environ), tfguard(words, environ)

    (pointer,) = (line for line in shown.splitlines() if line.startswith(POINTER))
    assert all(name in pointer for name in OWN)
    assert "See: tfguard --help" in shown.splitlines()
    assert "Terraform: " in shown
    assert (piped.stdout.split(), piped.stderr) == (["Terraform:", *words], "")


@pytest.mark.parametrize(("word", "likely"), [("sttaus", "status"), ("unlok", "unlock"), ("histroy", "history")])
def test_a_slip_of_one_of_ours_is_pointed_out(word: str, likely: str, environ: dict[str, str]) -> None:
    done = tfguard([word], environ)

    assert done.stdout == f"Terraform: {word}\n"
    assert f"did you mean `tfguard {likely}`?" in done.stderr


@pytest.mark.parametrize("words", [["plan"], ["state", "list"], ["version"], ["--", "sttaus"], ["frob"]], ids=" ".join)
def test_nothing_else_is(words: list[str], environ: dict[str, str]) -> None:
    assert "did you mean" not in tfguard(words, environ).stderr


def test_help_of_one_of_ours_is_ours(environ: dict[str, str]) -> None:
    assert tfguard(["help", "status"], environ).stdout == tfguard(["status", "--help"], environ).stdout
    assert tfguard(["help", "config", "show"], environ).stdout.startswith("Usage: tfguard config show")
    assert tfguard(["help", "plan"], environ).stdout == "Terraform: help plan\n"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("run prod/x --lock-timeout 3s", "--lock-timeout 3s run prod/x"),
        ("run prod/x --lock-timeout=3s --quiet", "--lock-timeout=3s --quiet run prod/x"),
        ("--verbose status --json -p prod", "--verbose -p prod status --json"),
        ("config show --config x.yml prod", "--config x.yml config show prod"),
        ("doctor -chdir=net", "-chdir=net doctor"),
        (
            "exec --name a --store file:///x --lock-timeout 3s -- true -p x",
            "--lock-timeout 3s exec --name a --store file:///x -- true -p x",
        ),
        ("exec -p prod ./deploy.sh -p x", "-p prod exec ./deploy.sh -p x"),
        ("exec --name -p ./deploy.sh", "exec --name -p ./deploy.sh"),
        ("plan -p x", "plan -p x"),
        ("-- run -p x", "-- run -p x"),
    ],
    ids=lambda text: text,
)
def test_our_options_may_stand_behind_our_own_commands(given: str, read: str) -> None:
    assert hoisted(given.split(), own=OWN, ends_with={"exec": ("--name", "--store")}) == read.split()


@pytest.mark.parametrize("given", ["status -p", "unlock --id x --config", "run prod --lock-timeout"])
def test_without_its_value_an_option_does_not_take_the_command_for_it(given: str) -> None:
    with pytest.raises(UsageError, match=f"{given.rsplit(maxsplit=1)[-1]} needs a value"):
        hoisted(given.split(), own=OWN, ends_with={})


def test_they_mean_there_what_they_mean_in_front(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text("version: 1\npipelines: {prod: {}}\n")

    done = tfguard(["config", "list", "--config", str(tmp_path / "other.yml")], environ)
    twice = tfguard(["-p", "prod", "config", "show", "-p", "dev"], environ)

    assert (done.returncode, "prod" in done.stdout) == (0, True), done.stderr
    assert (twice.returncode, "-p is given twice" in twice.stderr) == (64, True), twice.stderr
