"""What a person reads when a saved plan is refused: who has run since it was made."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tfguard.clock import created
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder
from tfguard.report.messages import states
from tfguard.report.messages.phrases import Subject

NOW = datetime(2026, 11, 20, 21, 17, 33, tzinfo=timezone.utc)
PLANNED_AT = NOW - timedelta(minutes=14)
SUBJECT = Subject("prod/network", "tfguard -p prod/network")
FIRST = "prod/network: plan-stale: the state has changed since this plan was made, 14 min ago. Plan again."
LAST = "Since then: ana@ci-7 (apply, GitHub run 4812, succeeded, 3m00s ago)"


def ran(minutes_ago: float, who: str = "ana@ci-7", command: str = "apply", link: str = "", **facts: str) -> Run:
    holder = Holder(who=who, command=command, run="GitHub run 4812", link=link)
    return Run(holder=holder, ended_at=created(NOW - timedelta(minutes=minutes_ago)), outcome="succeeded", **facts)


def said(*runs: Run, planned_at: datetime | None = PLANNED_AT) -> list[str]:
    return states.stale(SUBJECT, planned_at, runs, NOW).splitlines()


def test_who_ran_since_is_named_with_a_link() -> None:
    assert said(ran(3, link="https://ci/4812")) == [
        FIRST,
        LAST,
        "See: https://ci/4812",
    ]


def test_of_several_the_last_is_named_and_the_others_are_counted() -> None:
    lines = said(ran(9, who="bob@laptop"), ran(3))

    assert lines == [FIRST, f"{LAST}, and 1 more: tfguard -p prod/network history"]


@pytest.mark.parametrize(
    "run", [ran(20), ran(3, command="plan"), ran(3, command="hold"), ran(3, unlocked_by="ana@laptop")]
)
def test_whoever_cannot_have_changed_the_state_since_is_not_blamed(run: Run) -> None:
    assert said(run) == [FIRST, "No run of tfguard's is known since then: look for a plain Terraform."]


def test_where_the_plan_does_not_say_its_age_nobody_is_blamed() -> None:
    assert said(ran(3), planned_at=None) == [FIRST.replace(", 14 min ago", "")]


def test_what_strangers_wrote_cannot_break_the_lines() -> None:
    lines = said(ran(3, who="x\n\x1b[31m" * 30, link="https://ci/\n#"), ran(1, who="y" * 500))

    assert len(lines) <= 3
    assert all(line.isprintable() and len(line) <= 250 for line in lines)
