"""`config list`: the pipelines that a change concerns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import TFGUARD, base_environ

CONFIG = "version: 1\npipelines:\n  a: {dir: a}\n  b: {dir: b, paths: ['modules/*/x.tf', 'shared/**']}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
    (root / "tfguard.yml").write_text(CONFIG)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "tag", "before")
    return root


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def commit(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("changed")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")


def listed(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [*TFGUARD, "config", "list", "--json", *words]
    return subprocess.run(argv, cwd=root, env=dict(base_environ(root.parent)), capture_output=True, text=True)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["README.md"], []),
        (["a/main.tf"], ["a"]),
        (["modules/m/x.tf"], ["b"]),
        (["modules/m/deep/x.tf"], []),
        (["shared/deep/y.tf", "a/z.tf"], ["a", "b"]),
        (["ab/main.tf"], []),
    ],
)
def test_only_the_pipelines_that_a_change_concerns_are_listed(repository: Path, files, names) -> None:
    commit(repository, *files)

    done = listed(repository, "--changed-since", "before")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == names


def test_without_a_commit_all_are_listed(repository: Path) -> None:
    assert json.loads(listed(repository).stdout) == ["a", "b"]


@pytest.mark.parametrize(("commit", "code"), [("nowhere", 78), ("--output=x", 64)])
def test_a_commit_that_is_not_here_is_one_clear_error(repository: Path, commit: str, code: int) -> None:
    done = listed(repository, f"--changed-since={commit}")

    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 3
