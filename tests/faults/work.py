"""
What runs under the lock: writes down, all the time, that it is writing.

    python work.py NAME LOG GATE [stubborn]

Each line of LOG is `NAME begin|tick|asked|end BOOTTIME`. It works until GATE exists, or until its first SIGINT; a
stubborn one notes each SIGINT and works on. Whatever it writes is what Terraform would write into the state.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TICK_SECONDS = 0.02
#: Whatever becomes of the test, nothing of it runs for ever.
LONGEST_SECONDS = 300.0


def main(name: str, log: str, gate: str, *manner: str) -> int:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    asked: list[int] = []

    def note(word: str) -> None:
        now = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
        os.write(descriptor, f"{name} {word} {now:.4f}\n".encode())

    def on_interrupt(*_: object) -> None:
        asked.append(1)
        note("asked")

    signal.signal(signal.SIGINT, on_interrupt)
    note("begin")
    until = time.monotonic() + LONGEST_SECONDS
    while not os.path.exists(gate) and not (asked and "stubborn" not in manner) and time.monotonic() < until:
        note("tick")
        time.sleep(TICK_SECONDS)
    note("end")
    return 3 if asked else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
