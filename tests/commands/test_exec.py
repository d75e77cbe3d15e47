"""Which programs `exec` starts, and which it refuses before it takes any lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfguard.commands import exec as exec_command
from tfguard.errors import ProgramNotExecutable, ProgramNotFound

ANOTHER = 4711


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made = tmp_path / "become"
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


def find(program: Path) -> str:
    return exec_command._find_program(str(program), {"PATH": "/usr/bin:/bin"})


def test_a_program_that_becomes_another_user_is_refused(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of ours could stop it if the lock were lost."""
    program.chmod(0o4755)
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)

    with pytest.raises(ProgramNotExecutable, match="becomes another user's"):
        find(program)


@pytest.mark.parametrize("whose", [0, None], ids=["we are root", "it becomes ourselves"])
def test_one_that_we_may_signal_is_not(program: Path, monkeypatch: pytest.MonkeyPatch, whose: int | None) -> None:
    program.chmod(0o4755)
    owner = program.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner if whose is None else whose)

    assert find(program) == str(program)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound):
        find(tmp_path / "absent")
