"""Terraform's output passes unchanged, whatever becomes of its reader."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.eventually import eventually, patience
from tfguard.process.relay import Relay


class Pipes:
    """The child's pipe, our relay, and the reader's pipe."""

    def __init__(self):
        source, self.child = os.pipe()
        os.set_blocking(source, False)
        self.reader, self.sink = os.pipe()
        self.heard = threading.Event()
        self.relay = Relay(source, self.sink, self.heard.set)

    def read(self, count):
        data = b""
        while len(data) < count:
            data += os.read(self.reader, count - len(data))
        return data

    def end(self):
        self.relay.finish()
        return eventually(lambda: self.relay.is_finished(0.1))


@pytest.fixture
def pipes():
    pipes = Pipes()
    yield pipes
    for end in (pipes.child, pipes.sink, pipes.reader):
        try:
            os.close(end)
        except OSError:
            pass


def test_bytes_pass_unchanged_and_at_once(pipes):
    data = bytes(range(256))

    os.write(pipes.child, data)

    assert pipes.read(256) == data
    assert pipes.end()


def test_what_was_written_before_the_end_still_arrives(pipes):
    os.write(pipes.child, b"last words")
    pipes.end()

    assert pipes.read(10) == b"last words"
    assert pipes.relay.last_words == b"last words"


def test_a_descendant_that_keeps_the_pipe_open_is_not_waited_for(pipes):
    assert pipes.end()


def test_a_reader_that_has_gone_does_not_stop_the_child(pipes):
    os.close(pipes.reader)

    for _ in range(20):
        os.write(pipes.child, b"x" * 60_000)

    assert pipes.end()


@pytest.mark.parametrize(
    "parts",
    [
        [b"Interrupt received.\n"],
        [b"\nInterrupt received.\n"],
        [b"Inter", b"rupt rec", b"eived"],
        [b"Applying...\n\x1b[33mInterrupt received."],
    ],
)
def test_a_child_that_says_it_was_interrupted_is_heard(pipes, parts):
    for part in parts:
        os.write(pipes.child, part)
        pipes.read(len(part))

    assert pipes.heard.wait(patience(10))
    pipes.end()


@pytest.mark.parametrize("text", [b"output = Interrupt received", b"interrupt received", b"Interrupt recei"])
def test_the_words_elsewhere_mean_nothing(pipes, text):
    os.write(pipes.child, text)
    pipes.end()

    assert not pipes.heard.is_set()
