"""What a run leaves on the disk is for its owner alone, also where the umask says nothing."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import GATED, TFGUARD, Stage
from tests.e2e.running import running
from tfguard import files as private_files

#: Terraform's own, and the test's: they have the modes that the umask gives them.
NOT_OURS = {
    "terraform.tfstate",
    "terraform.tfstate.backup",
    ".terraform.lock.hcl",
    "main.tf",
    "backend.tf",
    "log",
    "gate",
}
LAX = ["sh", "-c", 'umask 0; exec "$@"', "sh", *TFGUARD]


def environment(platform: str, home: Path, checkout: Path) -> dict[str, str]:
    """What a CI platform sets; its own files are there before us."""
    if platform == "laptop":
        return {}
    if platform == "gitlab":
        return {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(checkout), "TFGUARD_CI_LOG": "1"}
    files = {name: home / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.touch(0o644)
    temporary = home / "runner"
    temporary.mkdir(0o755)
    return {"GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(temporary), "TFGUARD_CI_LOG": "1"} | {
        name: str(path) for name, path in files.items()
    }


def made_by_us(home: Path, before: set[Path]) -> Iterator[Path]:
    for path in home.rglob("*"):
        if path not in before and path.name not in NOT_OURS and ".terraform" not in path.parts:
            yield path


def open_to_others(home: Path, before: set[Path]) -> list[str]:
    return [f"{path} {path.lstat().st_mode:o}" for path in made_by_us(home, before) if path.lstat().st_mode & 0o077]


@pytest.mark.parametrize("platform", ["laptop", "github", "gitlab"])
def test_nothing_that_we_write_can_be_read_or_changed_by_others(
    stage: Callable[..., Stage], tmp_path: Path, platform: str
) -> None:
    made = stage("local", text=GATED)
    made.environ |= environment(platform, tmp_path, made.path)
    before = {*tmp_path.rglob("*")}

    made.run([*LAX, "plan", "-input=false"])
    planned = open_to_others(tmp_path, before)
    with running(made.start([*LAX, "apply", "-auto-approve", "-input=false"])) as ours:
        ours.wait_for_work(made)
        during = open_to_others(tmp_path, before)
        kinds = {path.suffix for path in made_by_us(tmp_path, before)}
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert {".info", ".tfguard", ".json"} <= kinds
    assert planned == []
    assert during == []
    assert open_to_others(tmp_path, before) == []


def test_folders_above_a_private_one_are_private_too(tmp_path: Path) -> None:
    private_files.make_folder(tmp_path / "a" / "b")
    private_files.make_folder(tmp_path / "a" / "b")

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o700, 0o700]


def test_a_private_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)

    with pytest.raises(OSError, match="symbolic links"):
        private_files.write(tmp_path / "link", b"owned")

    assert victim.read_text() == "precious"
