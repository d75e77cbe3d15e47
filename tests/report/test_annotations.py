"""Terraform's errors and warnings, where a reviewer reads the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.ci.github import GitHub
from tfguard.ci.gitlab import GitLab
from tfguard.ci.platform import NOWHERE, Place, Platform
from tfguard.report.annotations import annotation_lines, placed
from tfguard.terraform.diagnostics import Diagnostic


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (
        "env/prod/main.tf",
        "modules/net/main.tf",
        "env/prod/.terraform/modules/x/main.tf",
        "deep/repo/a/b.tf",
    ):
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).touch()
    (tmp_path / "work" / "deep" / "repo" / ".git").mkdir()
    (tmp_path / "other.tf").touch()
    return tmp_path / "work"


def lines(checkout: Path, *found: Diagnostic, directory: str = "env/prod", told: int = 0) -> list[str]:
    platform = GitHub({"GITHUB_WORKSPACE": str(checkout)})
    return list(annotation_lines(platform, found, str(checkout / directory), told))


@pytest.mark.parametrize(
    ("directory", "file", "shown"),
    [
        ("env/prod", "main.tf", "env/prod/main.tf"),
        ("env/prod", "../../modules/net/main.tf", "modules/net/main.tf"),
        ("deep/repo/a", "b.tf", "a/b.tf"),
        ("env/prod", ".terraform/modules/x/main.tf", ""),
        ("env/prod", "../../../other.tf", ""),
        ("env/prod", "<value for var.x>", ""),
        ("env/prod", "gone.tf", ""),
        (".", "env/prod/main.tf", "env/prod/main.tf"),
    ],
)
def test_the_place_is_counted_from_the_repositorys_root(directory: str, file: str, shown: str, checkout: Path) -> None:
    (line,) = lines(checkout, Diagnostic("error", "It broke", "so", file, 3), directory=directory)

    at = f"file={shown},line=3," if shown else ""
    assert line == f"::error {at}title=Terraform%3A It broke::so"


def test_on_gitlab_they_are_a_code_quality_report(checkout: Path) -> None:
    platform = GitLab({"CI_PROJECT_DIR": str(checkout)})
    found = [
        Diagnostic("error", "It broke", "so\nbadly", "main.tf", 3),
        Diagnostic("warning", "Hm", "", "main.tf", 7),
        Diagnostic("warning", "Hm", "", "main.tf", 9),
        Diagnostic("error", "No credentials", "none", "", 0),
    ]

    platform.show_diagnostics(list(placed(platform, found, str(checkout / "env/prod"))))

    issues = json.loads((checkout / ".tfguard/gl-code-quality-report.json").read_text())
    assert [(each["severity"], each["description"], each["location"]) for each in issues] == [
        ("critical", "Terraform: It broke: so badly", {"path": "env/prod/main.tf", "lines": {"begin": 3}}),
        ("minor", "Terraform: Hm", {"path": "env/prod/main.tf", "lines": {"begin": 7}}),
        ("minor", "Terraform: Hm", {"path": "env/prod/main.tf", "lines": {"begin": 9}}),
    ]
    assert len({each["fingerprint"] for each in issues}) == 3

    platform.show_diagnostics([])

    assert json.loads((checkout / ".tfguard/gl-code-quality-report.json").read_text()) == []


def test_a_place_behind_a_link_to_the_checkout_is_found_too(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(checkout)

    (line,) = lines(tmp_path / "link", Diagnostic("warning", "Hm", "", "main.tf", 3), directory="env/prod")

    assert line == "::warning file=env/prod/main.tf,line=3,title=Terraform%3A Hm::Hm"


@pytest.mark.parametrize(
    ("count", "told", "shown", "rest"), [(10, 0, 10, 0), (11, 0, 9, 2), (8, 3, 6, 2), (2, 9, 0, 2), (1, 9, 1, 0)]
)
def test_a_step_has_ten_and_the_last_counts_the_rest(
    count: int, told: int, shown: int, rest: int, checkout: Path
) -> None:
    found = lines(checkout, *(Diagnostic("warning", f"{number}") for number in range(count)), told=told)

    counted = [f"::warning title=tfguard::{rest} more of Terraform's errors and warnings: the log has them all."]
    assert found[:shown] == [f"::warning title=Terraform%3A {number}::{number}" for number in range(shown)]
    assert found[shown:] == (counted if rest else [])


def test_where_there_is_no_room_at_all_there_is_none(checkout: Path) -> None:
    class Plain(Platform):
        def annotation(self, level: str, text: str, number: int, place: Place = NOWHERE) -> str:
            return text

    assert lines(checkout, Diagnostic("error", "x"), told=10) == []
    assert list(annotation_lines(Plain({}), [Diagnostic("error", "x")], "", 0)) == []
