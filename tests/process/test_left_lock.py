"""Whether a lock that looks like a program's own may still be its, once it has ended."""

from __future__ import annotations

import signal

import pytest

from tfguard.process.left_lock import LeftLock

REFUSED = "\x1b[31mError: \x1b[0m\x1b[1mError acquiring the state lock\x1b[0m\n  ID: 1f4c\n"
NOT_FREED = "\x1b[31mError: \x1b[0m\x1b[1mError releasing the state lock\x1b[0m\n"

#: status, last words, signals so far: whether it may have left one
ENDS = {
    "well": (0, "Apply complete!", 0, False),
    "well, though it speaks of it": (0, NOT_FREED, 0, False),
    "with an error": (1, "Error: Invalid reference", 0, False),
    "refused by somebody else's lock": (1, REFUSED, 0, False),
    "with changes": (2, "Plan: 1 to add", 0, False),
    "unheard, on a terminal": (1, "", 0, False),
    "after one Ctrl-C": (1, "Interrupt received", 1, False),
    "it could not free it": (1, NOT_FREED, 0, True),
    "the same as JSON": (1, '{"@message":"Error: Error releasing the state lock"}', 0, True),
    "a new workspace's": (1, "Failed to unlock state: timeout", 0, True),
    "by a signal": (-signal.SIGKILL, "", 0, True),
    "by a signal that a shell tells of": (137, "", 0, True),
    "crashed": (11, "", 0, True),
    "crashed, as Go does": (2, "panic: nil\n\ngoroutine 1 [running]:", 0, True),
    "at once": (1, "Two interrupts received. Exiting immediately.", 0, True),
    "at once, unheard, on a terminal": (1, "", 2, True),
}


@pytest.mark.parametrize(("status", "words", "signals", "may_be"), ENDS.values(), ids=ENDS)
def test_only_who_was_cut_short_or_says_so_has_left_its_lock(
    status: int, words: str, signals: int, may_be: bool
) -> None:
    left = LeftLock()
    left.note(status, words)

    assert left.is_possible(signals) is may_be


def test_where_nothing_has_run_nothing_is_left() -> None:
    assert not LeftLock().is_possible(2)


def test_what_an_earlier_program_may_have_left_is_not_forgotten() -> None:
    left = LeftLock()
    left.note(-signal.SIGKILL, "")
    left.note(0, "")

    assert left.is_possible(0)
