"""What a signal means: the table, from both sides."""

from __future__ import annotations

import signal

import pytest

from tfguard.guard.signals import Received, reaction


@pytest.mark.parametrize(
    ("received", "shares_terminal", "expected"),
    [
        (Received(signal.SIGINT, is_from_terminal=True), True, "delivered"),
        (Received(signal.SIGHUP, is_from_terminal=True), True, 0.25),
        (Received(signal.SIGINT), True, 1.0),
        (Received(signal.SIGTERM), True, 1.0),
        (Received(signal.SIGINT), False, 0.25),
        (Received(signal.SIGTERM), False, 1.0),
        (Received(signal.SIGTERM, is_parent_death=True), False, 0.25),
    ],
)
def test_who_else_may_have_had_a_signal_decides_how_long_ours_waits(received, shares_terminal, expected):
    """On a terminal a sentinel may have to tell first that the whole job was signalled."""
    found = reaction(received, shares_terminal=shares_terminal, has_child_heard=False)

    assert ("delivered" if found.is_delivered else found.grace_seconds) == expected


def test_what_the_child_has_heard_is_not_sent_again():
    assert reaction(Received(signal.SIGTERM), shares_terminal=False, has_child_heard=True).is_delivered
