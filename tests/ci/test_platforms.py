"""What is said to each platform, in its own forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfguard.ci import platforms
from tfguard.ci.github import GitHub
from tfguard.ci.identity import PROVIDERS
from tfguard.ci.platform import NOWHERE, Place, Platform
from tfguard.ci.platforms import PLATFORMS, find_job, find_platform, records_folder


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({"TFGUARD_CI_LOG": "1", "GITHUB_ACTIONS": "true"}, "GitHub"),
        ({"TFGUARD_CI_LOG": "1", "GITLAB_CI": "true"}, "GitLab"),
        ({"GITHUB_ACTIONS": "true"}, "NoneType"),
        ({"TFGUARD_CI_LOG": "1", "BUILDKITE": "true"}, "NoneType"),
        ({"TFGUARD_CI_LOG": "1"}, "NoneType"),
    ],
)
def test_only_a_platform_that_was_asked_for_is_spoken_to(environ: dict[str, str], kind: str) -> None:
    assert type(find_platform(environ)).__name__ == kind


def test_every_platform_is_one_that_is_identified():
    assert PLATFORMS.keys() <= {row.name for row in PROVIDERS}


def test_records_are_kept_where_all_steps_of_a_job_find_them():
    assert records_folder({"RUNNER_TEMP": "/r", "CI_PROJECT_DIR": "/builds/x"}) == Path("/r/tfguard")
    assert records_folder({"CI_PROJECT_DIR": "/builds/x"}) == Path("/builds/x/.tfguard/runs")
    assert records_folder({"HOME": "/h"}) is None


@pytest.mark.parametrize("variable", ["RUNNER_TEMP", "CI_PROJECT_DIR"])
def test_a_plan_is_kept_in_a_folder_of_the_job_that_nobody_else_enters(tmp_path: Path, variable: str) -> None:
    job = find_job({variable: str(tmp_path)})

    assert job is not None
    made = Path(job.make_plan_folder())
    assert made.parent == tmp_path
    assert made.stat().st_mode & 0o077 == 0


@dataclass(frozen=True)
class Buildkite(Platform):
    environ: Mapping[str, str]

    def annotation(self, level: str, text: str, number: int, place: Place = NOWHERE) -> str:
        return f"[{level}] {text}"


def test_a_new_platform_is_a_class_with_the_forms_that_it_has_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PLATFORMS", {**PLATFORMS, "buildkite": Buildkite})
    job = {"TFGUARD_CI_LOG": "1", "BUILDKITE": "true"}

    found = find_platform(job)

    assert isinstance(found, Buildkite)
    assert (found.open_group("terraform plan", "t0ken"), found.close_group("t0ken")) == ("", "")
    assert found.annotation("error", "no", 1) == "[error] no"
    assert find_job(job) is None


def test_githubs_annotations_carry_any_text_and_are_ten_at_most():
    platform = GitHub({})

    assert platform.annotation("error", "50% of\r\na: b, c", 10) == "::error title=tfguard::50%25 of%0D%0Aa: b, c"
    assert platform.annotation("error", "one more", 11) == ""
    assert len(platform.annotation("error", "x" * 9000, 1)) < 4096


def test_githubs_annotations_stand_at_a_place_that_nothing_in_it_can_leave():
    place = Place("a: b,line=7::c\n::error::d", "env/a,b: 100%.tf", 3)

    told = GitHub({}).annotation("warning", "text", 1, place)

    file, title = "env/a%2Cb%3A 100%25.tf", "a%3A b%2Cline=7%3A%3Ac%0A%3A%3Aerror%3A%3Ad"
    assert told == f"::warning file={file},line=3,title={title}::text"


def test_between_githubs_marks_no_line_is_obeyed():
    opened, closed = GitHub({}).open_group("terraform plan", "t0ken"), GitHub({}).close_group("t0ken")

    assert opened == "::group::terraform plan\n::stop-commands::t0ken\n"
    assert closed == "\n::t0ken::\n::endgroup::\n"


def test_a_value_cannot_end_githubs_output_early(tmp_path: Path) -> None:
    path = tmp_path / "output"

    GitHub({"GITHUB_OUTPUT": str(path)}).write_outputs({"lock-id": "a\ntfguard_0\nexit-code<<x\n0\nx"})

    assert re.fullmatch(r"lock-id<<(tfguard_\w{32})\na\ntfguard_0\nexit-code<<x\n0\nx\n\1\n", path.read_text())


@pytest.mark.parametrize(("written", "is_shown"), [(0, True), (1024 * 1024 - 5000, True), (1024 * 1024 - 3000, False)])
def test_githubs_summary_gets_what_room_the_step_has_left(tmp_path: Path, written: int, is_shown: bool) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * written)

    GitHub({"GITHUB_STEP_SUMMARY": str(path)}).append_summary(lambda room: "y" * room, 4000)

    assert path.stat().st_size == (1024 * 1024 if is_shown else written)


def test_what_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    platform = GitHub({"GITHUB_OUTPUT": str(tmp_path / "no" / "folder"), "GITHUB_STEP_SUMMARY": str(tmp_path)})

    platform.write_outputs({"outcome": "failed"})
    platform.append_summary(lambda room: "", 1)

    assert list(tmp_path.iterdir()) == []
