"""What Tab offers, asked as the shells ask: through the script that tfguard prints for them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
PIPELINES = "version: 1\npipelines:\n  prod/network: {dir: .}\n  prod/dns: {dir: .}\n  dev: {dir: .}\n"
#: Calls the function that `complete` would call, as it would, and shows what comes of it.
ASK = """
source ./script
complete -p tfguard | grep -q _tfguard_completion || exit 9
COMP_WORDS=(%s) COMP_CWORD=%d COMPREPLY=()
compopt() { echo "$2"; }
_tfguard_completion tfguard
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def for_bash(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script for bash."""
    return script("bash", tmp_path_factory.mktemp("script"))


@pytest.fixture
def home(tmp_path: Path, for_bash: str) -> Path:
    """A directory with pipelines, a `tfguard` on PATH, and the script for bash."""
    (tmp_path / "tfguard.yml").write_text(PIPELINES)
    program = tmp_path / "bin" / "tfguard"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tfguard "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(for_bash)
    return tmp_path


def environ(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def run(argv: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=home, env=environ(home) | more, capture_output=True, text=True, timeout=60)


def script(shell: str, home: Path) -> str:
    result = run([sys.executable, "-m", "tfguard", "completion", shell], home)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def offered(home: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    asked = ASK % (shlex.join(("tfguard", *words)), len(words))
    result = run(["bash", "--norc", "-c", asked], home)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("st|", ["state", "status"]),
        ("un|", ["unlock", "untaint"]),
        ("--lock|", ["--lock-timeout"]),
        ("-p |", ["prod/network", "prod/dns", "dev"]),
        ("-p prod/d|", ["prod/dns"]),
        ("--pipeline = d|", ["dev"]),
        ("--pipeline =|", ["prod/network", "prod/dns", "dev"]),
        ("-p dev pl|", ["plan"]),
        ("run p|", ["prod/network", "prod/dns"]),
        ("-p dev doctor --prove|", ["--prove-lock"]),
        ("config s|", ["schema", "show"]),
        ("config show d|", ["dev"]),
        ("workspace s|", ["select", "show"]),
        ("--log-format |", ["console", "json"]),
        ("completion |", ["bash", "zsh", "fish"]),
        ("-chdir = a|", ["dirnames"]),
        ("--config |", ["default"]),
        ("apply |", ["default"]),
    ],
)
def test_bash_offers_what_may_stand_there(home: Path, line: str, words: list[str]) -> None:
    before, _, _ = line.partition("|")
    typed = before.split() + ([""] if before.endswith(" ") else [])

    assert offered(home, *typed) == words


def test_tab_in_a_living_bash_puts_the_rest_in(home: Path) -> None:
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        cwd=home,
        env=environ(home) | {"TERM": "dumb", "PS1": "ready> "},  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=60,
    )
    with closing(shell):
        shell.sendline("source ./script; echo sourc''ed")
        shell.expect("sourced")
        shell.expect("ready> ")

        shell.send("tfguard -p prod/d\t")

        shell.expect_exact("prod/dns ")


def test_every_command_is_offered_ours_and_terraforms(home: Path) -> None:
    words = offered(home, "")

    assert {"run", "doctor", "completion", "plan", "apply", "force-unlock"} <= set(words)


@pytest.mark.parametrize("text", ["pipelines: [", "version: 9\n", "version: 1\npipelines: {prod: {colour: red}}\n"])
def test_a_file_that_is_wrong_offers_nothing_and_says_nothing(home: Path, text: str) -> None:
    (home / "tfguard.yml").write_text(text)

    assert offered(home, "run", "") == []


def test_whatever_goes_wrong_the_shell_sees_nothing(home: Path) -> None:
    result = run(["tfguard"], home, _TFGUARD_COMPLETE="bash_complete", COMP_WORDS="'", COMP_CWORD="many")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_answer_costs_no_heavy_import(home: Path) -> None:
    code = "import sys; from tfguard.cli import main; main.os._exit = lambda _: print(*sys.modules); main.main()"

    asked = {"_TFGUARD_COMPLETE": "bash_complete", "COMP_WORDS": "tfguard run p", "COMP_CWORD": "2"}
    result = run([sys.executable, "-c", code], home, **asked)

    assert result.stdout.startswith("plain,prod/network\n")
    assert not {"boto3", "botocore", "rich", "asyncio"} & set(result.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_can_read_its_script(home: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (home / "script").write_text(script(shell, home))

    result = run([shell, "-n", "./script"], home)

    assert (result.returncode, result.stderr) == (0, "")


def test_fish_offers_pipelines(home: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    (home / "script").write_text(script("fish", home))

    result = run(["fish", "-c", "source ./script; complete -C 'tfguard -p prod/d'"], home)

    assert (result.stdout.split(), result.stderr) == (["prod/dns"], "")


def test_zsh_takes_an_option_and_its_value_for_one_word(home: Path) -> None:
    asked = {"_TFGUARD_COMPLETE": "zsh_complete", "COMP_WORDS": "tfguard --pipeline=prod/d", "COMP_CWORD": "1"}

    result = run(["tfguard"], home, **asked)

    assert result.stdout.splitlines() == ["plain", "--pipeline=prod/dns", "_"]


def test_an_unknown_shell_is_told_the_known_ones(home: Path) -> None:
    result = run(["tfguard", "completion", "tcsh"], home)

    assert result.returncode == 64
    assert "'bash', 'zsh', 'fish'" in result.stderr
