"""What the thread that beats rests on."""

from __future__ import annotations

import threading

from tfguard.lock.resting import Rest


def test_a_rest_ends_early_once_for_each_time_that_it_is_stirred() -> None:
    rest = Rest(threading.Event())
    rest.stir()

    assert [rest.wait(60), rest.wait(0)] == [False, False]


def test_a_rest_that_is_over_stays_over() -> None:
    rest = Rest(threading.Event())
    rest.end()
    rest.stir()

    assert [rest.wait(60), rest.wait(None)] == [True, True]
