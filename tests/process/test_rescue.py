"""Which errored state is a run's own, and when a push is tried again."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tfguard.guard import messages
from tfguard.process import child
from tfguard.process.page import Page
from tfguard.process.rescue import PAUSES_SECONDS, Rescuer, stamp


def rescuer(directory: Path, script: str = "exit 0", *, before: str | None = None) -> Rescuer:
    argv = ["/bin/sh", "-c", script, "sh"]
    return Rescuer(messages.Rescue(directory=str(directory), current=str(directory), argv=argv, environ={}), before)


def run(made: Rescuer) -> float | None:
    page = Page.create()
    process = made.start(page)
    os.close(page.descriptor)
    assert process is not None
    return made.ended(eventually(lambda: (_status(process),), 30)[0])


def _status(process: child.Child) -> int:
    status = process.poll()
    assert status is not None
    return status


def test_only_a_file_that_came_while_we_ran_is_ours(tmp_path: Path) -> None:
    errored = tmp_path / "errored.tfstate"
    made = rescuer(tmp_path)
    errored.write_text("somebody else's, left while we waited")
    made.begin()
    before = made.is_needed

    errored.write_text("ours, and of another size")
    made.begin()

    assert not before
    assert made.is_needed


def test_what_came_before_a_successor_and_after_the_runs_first_program_is_ours(tmp_path: Path) -> None:
    before = stamp(str(tmp_path / "errored.tfstate"))
    (tmp_path / "errored.tfstate").write_text("left by the Terraform that the dead keeper ran")

    made = rescuer(tmp_path, before=before)
    made.begin()

    assert made.is_needed


def test_a_full_disk_does_not_keep_a_state_from_being_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be what kept Terraform from saving it."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)

    assert run(rescuer(tmp_path)) is None


def test_where_no_descriptor_is_free_the_state_is_kept_and_why_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    made, page = rescuer(tmp_path), Page.create()
    monkeypatch.setattr(os, "memfd_create", refuse)

    assert made.start(page) is None
    assert "Too many open files" in made.error
    os.close(page.descriptor)


def test_what_lay_there_before_the_run_is_no_successors_either(tmp_path: Path) -> None:
    errored = tmp_path / "errored.tfstate"
    errored.write_text("somebody else's")

    made = rescuer(tmp_path, before=stamp(str(errored)))

    assert not made.is_needed


def test_without_a_plan_nothing_is_needed() -> None:
    assert not Rescuer(None).is_needed


@pytest.mark.parametrize("reason", ["cannot import state with serial 3", "another lineage"])
@pytest.mark.parametrize(
    "shape",
    ["\\033[31m│ \\033[1mError: \\033[0m%s\\n\\033[31m╵\\033[0m", "\\033[31mFailed to write state: %s\\033[0m\\n"],
)
def test_what_terraform_refuses_is_not_tried_again(tmp_path: Path, reason: str, shape: str) -> None:
    """Some of it comes in a frame, some is a bare line, and all of it in colour."""
    made = rescuer(tmp_path, f"printf '{shape}' '{reason}' >&2; exit 1")

    pause = run(made)

    assert pause is None
    assert made.error == reason


def test_a_push_that_says_nothing_has_no_reason(tmp_path: Path) -> None:
    made = rescuer(tmp_path, "exit 1")

    run(made)

    assert made.error == "it gave no reason"


def test_other_failures_are_tried_again_a_few_times(tmp_path: Path) -> None:
    made = rescuer(tmp_path, "exit 1")

    pauses = [run(made) for _ in range(len(PAUSES_SECONDS) + 1)]

    assert pauses == [*PAUSES_SECONDS, None]


def test_a_pushed_file_gets_another_name(tmp_path: Path) -> None:
    (tmp_path / "errored.tfstate").write_text("state")
    made = rescuer(tmp_path)

    place = made.set_aside("id-1")

    assert Path(place).name == "errored.tfstate.pushed-id-1"
    assert Path(place).read_text() == "state"
    assert not made.is_needed
