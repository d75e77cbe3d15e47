"""A thread's end is never missed."""

from __future__ import annotations

import pytest

from tests.support.eventually import patience
from tfguard import threads


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_ends_a_thread_is_told(kind):
    told = []

    def work():
        raise kind("why")

    threads.start("broken", work, told.append).join(patience(10))

    assert [type(error) for error in told] == [kind]


def test_a_thread_that_returns_has_nothing_to_tell():
    told = []

    threads.start("sound", lambda: 1, told.append).join(patience(10))

    assert told == []
