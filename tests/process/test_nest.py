"""Turns inside one program: a real lock of the kernel, and who holds it when its holder dies."""

from __future__ import annotations

import os

import pytest

from tfguard.errors import StoreMisconfigured
from tfguard.lock.protocol import Sibling
from tfguard.process.nest import Nest

FIRST = Sibling(who="ana@ci-7", command="apply", pid=4711)
SECOND = Sibling(who="ana@ci-7", command="plan", pid=4712)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "nests" / "0123456789")


def test_one_at_a_time_is_let_in_and_the_other_knows_who(path):
    first, second = Nest(path, FIRST), Nest(path, SECOND)

    assert (first.try_enter(), second.try_enter()) == (True, False)
    assert second.ahead == FIRST
    first.leave()
    assert second.try_enter()
    second.leave()


def test_whoever_leaves_leaves_no_file(path):
    nest = Nest(path, FIRST)
    nest.try_enter()

    nest.leave()

    assert os.listdir(os.path.dirname(path)) == []


def test_the_place_is_kept_as_long_as_anybody_has_its_descriptor(path):
    dead, second = Nest(path, FIRST), Nest(path, SECOND)
    dead.try_enter()
    fronts = os.dup(dead.fileno())
    os.close(dead.fileno())
    successor = Nest(path, FIRST, os.dup(fronts))

    was_let_in = second.try_enter()
    is_still_in = successor.try_enter()
    successor.leave()

    assert (was_let_in, is_still_in, second.try_enter()) == (False, True, True), "the front has it open, and is out"
    os.close(fronts)
    second.leave()


def test_a_file_that_was_removed_under_a_waiter_counts_for_nothing(path, monkeypatch):
    """Else two would be in: one with the removed file, one with its successor."""
    first, second = Nest(path, FIRST), Nest(path, SECOND)
    first.try_enter()
    opened = second._open

    def open_and_be_late():
        descriptor = opened()
        first.leave()
        return descriptor

    monkeypatch.setattr(second, "_open", open_and_be_late)

    assert second.try_enter()
    assert os.fstat(second.fileno()).st_ino == os.stat(path).st_ino
    second.leave()


@pytest.mark.parametrize("path", ["relative", "/proc/nowhere/0123456789", "/dev/null/0123456789"])
def test_where_turns_cannot_be_taken_nothing_runs(path):
    with pytest.raises(StoreMisconfigured, match="cannot take turns"):
        Nest(path, FIRST).try_enter()


def test_a_link_is_not_followed(path, tmp_path):
    os.makedirs(os.path.dirname(path))
    (tmp_path / "victim").write_text("untouched")
    os.symlink(tmp_path / "victim", path)

    with pytest.raises(StoreMisconfigured):
        Nest(path, FIRST).try_enter()

    assert (tmp_path / "victim").read_text() == "untouched"


def test_garbage_in_the_file_is_nobody(path):
    first, second = Nest(path, FIRST), Nest(path, SECOND)
    first.try_enter()
    with open(path, "w") as file:
        file.write("{" * 5000)

    assert not second.try_enter()
    assert second.ahead is None
    first.leave()
