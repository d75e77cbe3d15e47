"""The formulas of one lease, and that the holder always stops before a waiter may start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from tfguard.lock.deadlines import TICK_SECONDS, Deadlines, jittered


def test_the_default_lease_has_these_deadlines():
    assert astuple(Deadlines.of(180.0)) == (10.0, 30.0, 60.0, 108.0, 180.0)


def test_beats_that_are_objects_are_rarer():
    assert Deadlines.of(180.0, beats_are_objects=True).heartbeat == 15.0


@given(st.floats(10, 86400), st.booleans())
def test_deadlines_keep_their_order(lease, beats_are_objects):
    deadlines = astuple(Deadlines.of(lease, beats_are_objects=beats_are_objects))

    assert list(deadlines) == sorted(set(deadlines))


@pytest.mark.parametrize("lease", [10.0, 60.0, 180.0, 3600.0])
def test_clocks_wrong_by_a_quarter_still_keep_two_apart(lease):
    """T7: the slowest holder's freeze, its tick included, comes before the fastest waiter's takeover."""
    deadlines = Deadlines.of(lease)

    frozen_at = (deadlines.freeze + TICK_SECONDS) / 0.8
    taken_at = deadlines.takeover / 1.25

    assert frozen_at < taken_at


def test_several_beats_may_be_missed_before_anything_happens():
    deadlines = Deadlines.of(180.0)

    assert deadlines.warning / deadlines.heartbeat >= 3
    assert deadlines.interrupt / deadlines.heartbeat >= 5


@given(st.floats(0.01, 1000))
def test_jitter_stays_within_a_tenth(seconds):
    assert 0.9 * seconds <= jittered(seconds) <= 1.1 * seconds


def test_jitter_spreads():
    assert len({jittered(1.0) for _ in range(20)}) > 1
