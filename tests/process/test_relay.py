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
        [b'{"@message":"\\nInterrupt received.\\nPlease wait for Terraform to exit or data loss may occur.\\n"}'],
        [b'{"@message":"\\nInterrupt rec', b"eived.\\nPlease wait for Open", b"Tofu to exit or data"],
        [b'{"log":"{\\"@message\\":\\"\\\\nInterrupt received.\\\\nPlease wait for Terraform to exit"}'],
        [b"12:03:11 STDOUT app: Interrupt received.\n12:03:11 STDOUT app: Please wait for Terraform to exit or"],
        [b"[app] Interrupt received.\r\n", b"[app] Please wait for Terraform", b" to exit"],
        [b"x" * 3000 + b" Interrupt received.\x1b[0m\n\x1b[1mPlease wait for OpenTofu to exit"],
    ],
)
def test_a_child_that_says_it_was_interrupted_is_heard(pipes, parts):
    for part in parts:
        os.write(pipes.child, part)
        pipes.read(len(part))

    assert pipes.heard.wait(patience(10))
    pipes.end()


@pytest.mark.parametrize(
    "text",
    [
        b"output = Interrupt received",
        b"interrupt received",
        b"Interrupt recei",
        b" " * 40 + b"output = Interrupt received.\n",
        b'"Interrupt received. Please wait for Terraform to exit"',
    ],
)
def test_the_words_elsewhere_mean_nothing(pipes, text):
    os.write(pipes.child, text)
    pipes.end()

    assert not pipes.heard.is_set()


@pytest.mark.parametrize("broken", ["keep", "on_interrupt_heard"])
def test_a_defect_in_who_looks_at_it_is_told_and_the_output_passes_all_the_same(broken):
    source, child = os.pipe()
    os.set_blocking(source, False)
    reader, sink = os.pipe()
    told = []

    def defect(*_):
        raise RuntimeError(broken)

    hooks = {"on_interrupt_heard": lambda: None, "keep": len, broken: defect}
    relay = Relay(source, sink, on_defect=told.append, **hooks)

    for text in (b"Interrupt received.\n", b"and more\n"):
        os.write(child, text)
        eventually(lambda: broken in map(str, told))
    relay.finish()
    eventually(lambda: relay.is_finished(0.1))

    assert os.read(reader, 100) == b"Interrupt received.\nand more\n"
    for end in (child, reader, sink):
        os.close(end)

    assert [str(error) for error in told] == [broken]
