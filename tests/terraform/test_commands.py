"""The table of Terraform's commands, held against what the real Terraform says of itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import parts
from tfguard.terraform.commands import COMMANDS, NAMES, SUBCOMMANDS, TAKING_ARGUMENTS, find, may_change

#: They accept `-lock`, and tfguard takes no lock for them all the same; commands.py says why.
LOCKED_BY_TERRAFORM = {("init",), ("workspace", "new"), ("env", "new"), ("env", "delete")}
#: Terraform accepts `-var-file` there too; a pipeline's variables are not for its tests.
WITHOUT_OUR_VARIABLES = {("test",)}


@pytest.fixture
def help_of(tmp_path: Path) -> Callable[..., str]:
    """What the real Terraform's `-help` says of a command."""
    if not parts.locks_objects():  # An older one has fewer flags than the table.
        raise parts.PartMissing("no terraform or tofu of 1.10 or newer on PATH")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}

    def ask(*words: str) -> str:
        done = subprocess.run(
            ["terraform", *words, "-help"], cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True
        )
        return (done.stdout + done.stderr).decode()

    return ask


def listed(text: str) -> set[str]:
    """The commands that a help text lists: each on a line of its own, indented, before what it does."""
    return set(re.findall(r"^ {2,4}([a-z][a-z-]*) {2,}\S", text, re.MULTILINE))


def has_flag(text: str, flag: str) -> bool:
    return re.search(rf"^ *{flag}(=|\s|$)", text, re.MULTILINE) is not None


def test_every_command_of_the_real_terraform_has_its_row(help_of: Callable[..., str]) -> None:
    names = listed(help_of())

    assert {"init", "apply", "workspace"} <= names <= NAMES
    for group, known in SUBCOMMANDS.items():
        assert listed(help_of(group)) <= set(known), group


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_table_agrees_with_the_real_terraform(words: tuple[str, ...], help_of: Callable[..., str]) -> None:
    # `destroy -help` lists no flags of its own: it refers to `plan -help`.
    text, row = help_of(*(("plan",) if words == ("destroy",) else words)), COMMANDS[words]

    assert row.takes_lock == (has_flag(text, "-lock") and words not in LOCKED_BY_TERRAFORM)
    assert row.takes_var_files == (has_flag(text, "-var-file") and words not in WITHOUT_OUR_VARIABLES)


def test_each_command_has_one_row() -> None:
    assert len({row.name for row in COMMANDS.values()}) == len(COMMANDS)
    assert [row.name for row in COMMANDS.values()] == sorted(row.name for row in COMMANDS.values())


def test_only_what_takes_a_lock_is_said_to_change_the_state() -> None:
    assert all(row.takes_lock for row in COMMANDS.values() if row.is_changing)


def test_arguments_are_configured_by_first_words() -> None:
    assert set(TAKING_ARGUMENTS) <= NAMES


def test_a_subcommand_that_we_do_not_know_is_taken_for_its_group() -> None:
    assert find(("state", "mv")) is COMMANDS["state", "mv"]
    assert find(("state", "frobnicate")) is COMMANDS["state",]
    assert find(("frobnicate",)) is None
    assert find(()) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("plan", False), ("apply", True), ("state mv", True), ("exec", True), ("run", True), ("of a later tfguard", True)],
)
def test_whatever_is_not_known_to_be_harmless_may_change_a_state(name: str, *, expected: bool) -> None:
    assert may_change(name) is expected
