"""What `--help` and `man tfguard` say of the environment and of exit codes: true, and whole."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import tfguard
from tests.support.parts import MISSING
from tfguard import errors
from tfguard.backends import BACKENDS, load
from tfguard.cli import helping, own_commands
from tools import manpage

ROOT = Path(__file__).parents[2]
SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "tfguard").rglob("*.py") if path.name != "helping.py"
)


def commands_of(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands_of(command, *above, name)


def classes(of: type[errors.TfguardError]) -> Iterator[type[errors.TfguardError]]:
    yield of
    for each in of.__subclasses__():
        yield from classes(each)


def help_of(words: tuple[str, ...]) -> str:
    return CliRunner().invoke(own_commands.group, [*words, "--help"], prog_name="tfguard").output


def test_each_command_has_its_row_and_each_row_its_command() -> None:
    assert set(helping.MATTERS) == {" ".join(words) for words in commands_of(own_commands.group)}


@pytest.mark.parametrize("words", [*commands_of(own_commands.group)], ids=" ".join)
def test_each_says_what_matters_to_it_and_where_the_manual_is(words: tuple[str, ...]) -> None:
    matters, said = helping.MATTERS[" ".join(words)], help_of(words)

    for name in matters.environment:
        assert re.search(rf"^    {name} +{re.escape(helping.environment()[name])}$", said, re.MULTILINE)
    for code in matters.exits:
        assert re.search(rf"^    {re.escape(code)} +{re.escape(helping.EXIT_CODES[code])}$", said, re.MULTILINE)
    assert said.endswith(f"Manual: man tfguard, or {tfguard.MANUAL}\n")
    assert all(len(line) <= 90 for line in said.splitlines())


def test_every_error_of_ours_has_its_exit_code_there() -> None:
    codes = {str(each.exit_code) for each in classes(errors.TfguardError) if isinstance(each.exit_code, int)}

    assert codes <= set(helping.EXIT_CODES)


@pytest.mark.parametrize("name", helping.environment())
def test_every_variable_is_read(name: str) -> None:
    assert f'"{name}"' in SOURCES


def test_the_manual_page_is_current() -> None:
    assert manpage.PAGE.read_text(encoding="utf-8") == manpage.page(), "make man writes it anew"


def test_the_manual_page_names_every_command_and_option() -> None:
    page = manpage.page().replace("\\-", "-")

    for words in commands_of(own_commands.group):
        assert words == ("config",) or f'.SS "tfguard {" ".join(words)}' in page
    for option in ("--lock-timeout", "--prove-lock", "--changed-since", "--reason", "-chdir=DIR"):
        assert option in page


def test_the_manual_page_is_rendered_without_a_warning(tmp_path: Path) -> None:
    man = shutil.which("man")
    if man is None or not shutil.which("groff"):
        pytest.skip(f"{MISSING}no man on PATH")

    done = subprocess.run(
        [man, "-l", "--warnings", "-E", "UTF-8", str(manpage.PAGE)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "tfguard - run Terraform under its own state lock" in done.stdout


def test_every_store_of_a_named_lock_is_shown() -> None:
    schemes = {scheme for kind in BACKENDS for scheme in load(kind).urls}

    shown = CliRunner().invoke(own_commands.group, ["exec", "--help"]).output

    assert schemes - set(re.findall(r"(\w+)://[A-Z/]", shown)) == set()
