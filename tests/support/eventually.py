"""Waiting in tests: for a claim to become true, never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """
    Call `check` until it gives something true, and give that; fail the test after `timeout` seconds.

    An AssertionError or OSError counts as "not yet"; the last one is shown. `what` says what was waited for.
    """
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        found, reason = _try(check)
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what or check!r} ({reason})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def _try(check: Callable[[], T]) -> tuple[T | None, object]:
    try:
        value = check()
    except (AssertionError, OSError) as error:
        return None, error
    return value, value
