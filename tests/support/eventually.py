"""
Waiting in tests: for a claim to become true, never for a time to pass.

No test is red because its machine is slow. Whoever waits says how long it takes at most on an idle machine, and is
given `BUSY` times that; a test that passes never waits so long. Nobody asserts a time more closely than that, either:
where a deadline itself is the claim, it is looked at on a simulated clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: How many times slower than an idle machine one may be on which every test still passes. Where tests are to fail, as
#: those of a deliberate fault are, less is enough: who waits for what never comes is done the sooner.
BUSY = float(os.environ.get("TFGUARD_TESTS_BUSY", "10"))


def patience(idle_seconds: float) -> float:
    """Give the seconds after which whoever waits gives up, for what takes `idle_seconds` at most on an idle machine."""
    return idle_seconds * BUSY


def eventually(check: Callable[[], T], idle_seconds: float = 10.0, what: str = "") -> T:
    """
    Call `check` until it gives something true, and give that; fail the test after `patience(idle_seconds)`.

    An AssertionError or OSError counts as "not yet"; the last one is shown. `what` says what was waited for.
    """
    timeout = patience(idle_seconds)
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


def within(seconds: float, check: Callable[[], T]) -> T | None:
    """Give what `check` gives as soon as that is true; None if it is not within so many seconds. Either may be."""
    deadline = time.monotonic() + seconds
    found, _ = _try(check)
    while not found and time.monotonic() < deadline:
        time.sleep(0.02)
        found, _ = _try(check)
    return found or None


def _try(check: Callable[[], T]) -> tuple[T | None, object]:
    try:
        value = check()
    except (AssertionError, OSError) as error:
        return None, error
    return value, value
