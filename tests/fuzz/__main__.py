"""
The long form: `python -m tests.fuzz --minutes 10` gives each target its share of the time, and tells what it has found.

What was a fault is kept in the corpus, which the short form reads every time.
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.fuzzing import check_repetition, examples, keep, repetitions, tolerant
from tests.fuzz.targets import TARGETS, Target

_LONG = settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def fuzz(target: Target, seconds: float) -> tuple[int, str]:
    """Fuzz one target for so long; gives how many inputs it has had, and the fault that was found, if one was."""
    until, count, last = time.monotonic() + seconds, 0, ""

    @_LONG
    @given(text=examples(target), parts=repetitions(target))
    def reads(text: str, parts: tuple[str, str, str]) -> None:
        nonlocal count, last
        if time.monotonic() > until:
            return
        count, last = count + 1, text
        tolerant(target)(text)
        last = parts[0] + parts[1] * 50 + parts[2]
        if count % 20 == 0:
            check_repetition(target, parts, count=200)

    while time.monotonic() < until:
        try:
            reads()
        except Exception as error:  # noqa: BLE001 - each is what we look for
            keep(target, last)
            return count, f"{type(error).__name__}: {error}\n  {last[:200]!r}"
    return count, ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--target", help="this one alone")
    options = parser.parse_args()
    targets = [target for target in TARGETS if options.target in (None, target.name)]
    faults = 0
    for target in targets:
        count, fault = fuzz(target, 60 * options.minutes / len(targets))
        faults += bool(fault)
        print(f"{target.name:18} {count:8} inputs  {fault or 'no fault'}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
