"""What status shows for the last run."""

from __future__ import annotations

from tfguard.commands.lock_facts import last_of
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder


def run(command: str) -> Run:
    return Run(holder=Holder(who="ana@ci", command=command), ended_at="2026-11-21T03:22:51Z", outcome="succeeded")


def test_a_look_or_a_hold_does_not_hide_the_last_apply() -> None:
    runs = [run("plan"), run("apply"), run("doctor"), run("hold")]

    assert last_of(runs) is runs[1]
    assert last_of(runs[2:]) is runs[3]
