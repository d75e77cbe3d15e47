"""How much work a parser does, and whether that grows in proportion to what it is given."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

#: So many times as much input may take so many times as much work: in proportion, and as much again for noise.
_TIMES, _MOST = 8, 28
#: Less than this is no work worth the name, in seconds of processor time.
_NOTHING = 0.05


def grows_too_fast(read: Callable[[str], object], make: Callable[[int], str], count: int) -> str:
    """
    Say so if the work for `make(8 × count)` is out of proportion to that for `make(count)`; else nothing.

    Both are measured in this thread's processor time, the best of three, one after the other on the same machine: a
    slow or busy one is slow for both.
    """
    small, large = make(count), make(_TIMES * count)
    for _ in range(3):
        less, more = _cpu_seconds(read, small), _cpu_seconds(read, large)
        if more <= _NOTHING or more <= _MOST * less:
            return ""
    return f"{less:.3f} s for {len(small)} characters, {more:.3f} s for {len(large)}"


def _cpu_seconds(read: Callable[[str], object], text: str) -> float:
    gc.collect(0)
    best = float("inf")
    for _ in range(2):
        before = time.thread_time()
        read(text)
        best = min(best, time.thread_time() - before)
        if best > 1.0:
            break
    return best
