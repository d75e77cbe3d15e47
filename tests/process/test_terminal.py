"""Whether somebody, or something, may answer what Terraform asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = "from tfguard.process.terminal import has_input; print(has_input())"


def has_input(stdin):
    done = subprocess.run([sys.executable, "-c", ASK], stdin=stdin, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout == "True\n"


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_what_was_piped_in_may_be_read(pipe):
    os.write(pipe[1], b"value\n")

    assert has_input(pipe[0])


def test_a_pipe_into_which_nobody_writes_answers_nothing(pipe):
    assert not has_input(pipe[0])


@pytest.mark.parametrize(("text", "expected"), [("value\n", True), ("", False)])
def test_a_file_answers_as_long_as_there_is_something_left(tmp_path, text, expected):
    (tmp_path / "in").write_text(text)

    with open(tmp_path / "in", "rb") as file:
        assert has_input(file) is expected
        os.lseek(file.fileno(), 0, os.SEEK_END)
        assert not has_input(file)


def test_nothing_answers_nothing():
    assert not has_input(subprocess.DEVNULL)


def test_a_terminal_may_be_asked():
    ours, theirs = os.openpty()

    assert has_input(theirs)

    os.close(ours)
    os.close(theirs)
