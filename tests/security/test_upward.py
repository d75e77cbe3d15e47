"""A tfguard.yml is looked for upward, and not where a stranger may have left one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfguard.config.file import find_config


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """`above/checkout/stack`, and a tfguard.yml above them all."""
    folder = tmp_path / "above" / "checkout" / "stack"
    folder.mkdir(parents=True)
    (tmp_path / "above" / "tfguard.yml").write_text("version: 1\n")
    return folder


def test_the_nearest_one_upward_is_taken(start: Path) -> None:
    assert find_config(start, None, {}) == start.parents[1] / "tfguard.yml"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_search_ends_at_the_root_of_the_checkout(start: Path, kind: str) -> None:
    git = start.parent / ".git"
    git.mkdir() if kind == "folder" else git.write_text("gitdir: elsewhere\n")

    assert find_config(start, None, {}) is None
    (start.parent / "tfguard.yml").write_text("version: 1\n")
    assert find_config(start, None, {}) == start.parent / "tfguard.yml"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given_away", ["above", "above/checkout", "above/tfguard.yml"])
def test_the_search_ends_before_what_is_another_users(start: Path, tmp_path: Path, given_away: str) -> None:
    os.chown(tmp_path / given_away, 4711, 4711)

    assert find_config(start, None, {}) is None
    assert find_config(start, str(tmp_path / "above" / "tfguard.yml"), {}) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_another_user_as_in_a_container_is_searched(start: Path, tmp_path: Path) -> None:
    for path in (start, start.parent, tmp_path / "above", tmp_path / "above" / "tfguard.yml"):
        os.chown(path, 4711, 4711)

    assert find_config(start, None, {}) == tmp_path / "above" / "tfguard.yml"
