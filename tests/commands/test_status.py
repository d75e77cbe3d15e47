"""What status shows for the last run."""

from __future__ import annotations

from typing import Any

import pytest

from tfguard.commands.lock_facts import last_of
from tfguard.commands.status import status_of
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder


def run(command: str) -> Run:
    return Run(holder=Holder(who="ana@ci", command=command), ended_at="2026-11-21T03:22:51Z", outcome="succeeded")


def test_a_look_or_a_hold_does_not_hide_the_last_apply() -> None:
    runs = [run("plan"), run("apply"), run("doctor"), run("hold")]

    assert last_of(runs) is runs[1]
    assert last_of(runs[2:]) is runs[3]


def look(problem: str = "", mend: str = "", *, needs_person: bool = False) -> dict[str, Any]:
    return {"problem": problem, "mend": mend, "locks": [{"needs_person": needs_person}]}


@pytest.mark.parametrize(
    ("looks", "status"),
    [
        ([look()], 0),
        ([look(), look("no such bucket", "tfguard -p a doctor")], 1),
        ([look("no such bucket", "tfguard -p a doctor"), look(needs_person=True)], 3),
        ([look("HCP Terraform executes these runs, one after the other")], 0),
        ([], 0),
    ],
)
def test_a_look_at_many_locks_ends_with_what_needs_somebody(looks: list[dict[str, Any]], status: int) -> None:
    assert status_of(looks) == status
