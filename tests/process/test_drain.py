"""The pipes of a child whose front reads them no more."""

from __future__ import annotations

import os
import selectors

import pytest

from tfguard.process.drain import RELAY_SILENCE_SECONDS, Drain


class Pipe:
    """A child's pipe, with something in it; `kept` is what was drained of it."""

    def __init__(self):
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        self.kept = []
        self.selector = selectors.DefaultSelector()
        self.drain = Drain(self.read, self.kept.append, lambda: None)
        os.write(self.write, b"Stopping operation...")

    def look(self, now):
        """As the keeper does at every look."""
        self.drain.take_over_if_stuck(now, self.selector)
        for key, _ in self.selector.select(0):
            key.fileobj.drain(self.selector)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.drain.close(made.selector)
    made.selector.close()
    os.close(made.write)


def test_a_front_that_was_frozen_after_a_stop_loses_the_relay_to_the_keeper(pipe):
    pipe.drain.watch_from(10.0)

    pipe.look(10.0)
    pipe.look(10.0 + RELAY_SILENCE_SECONDS)

    assert pipe.kept == [b"Stopping operation..."]


def test_a_front_that_reads_keeps_it(pipe):
    pipe.drain.watch_from(10.0)

    pipe.look(10.0)
    os.read(pipe.read, 100)
    pipe.look(10.0 + RELAY_SILENCE_SECONDS)
    os.write(pipe.write, b"x")
    pipe.look(10.0 + 1.5 * RELAY_SILENCE_SECONDS)

    assert pipe.kept == []


def test_as_long_as_nobody_was_asked_to_stop_the_child_may_wait_for_its_reader(pipe):
    pipe.look(10.0)
    pipe.look(10.0 + 10 * RELAY_SILENCE_SECONDS)

    assert pipe.kept == []
