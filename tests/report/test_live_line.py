"""The line that waits: our place, and who holds the lock, in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from msgspec import structs

from tfguard.clock import created
from tfguard.lock import protocol
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.report.messages.phrases import COLUMNS, Subject
from tfguard.report.messages.waiting import live_line, ordinal, standing, waiting

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
ANA = Holder(who="ana@ci-7", command="apply", run="GitHub run 4812", link="https://ci.example/4812")
INFO = LockInfo(
    id="0aaf67c2", operation="OperationTypeApply", who="ana@ci-7", created=created(NOW - timedelta(seconds=133))
)


def record(*, is_leased: bool = True) -> LockRecord:
    lease = Lease(beat=3, duration_ms=180_000, holder=ANA, beaten_at=created(NOW - timedelta(seconds=4)))
    return LockRecord(text=INFO.encode(), info=INFO, lease=lease if is_leased else None)


def message(**facts: object) -> protocol.Waiting:
    base = protocol.Waiting(record=record(), seen_seconds=4, expires_in_seconds=176, remaining_seconds=600)
    return structs.replace(base, **facts)


def test_the_live_line_says_who_holds_it_for_how_long_and_our_place():
    line = live_line("network/prod", message(place=2, length=5), NOW)

    assert line == (
        "network/prod · held by ana@ci-7 · apply · GitHub run 4812 · 2m13s · heartbeat 4 s ago · you are 2nd of 5"
        " · gives up in 10m"
    )


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            110,
            "network/prod · held by ana@ci-7 · apply · 2m13s · heartbeat 4 s ago · you are 2nd of 5 · gives up in 10m",
        ),
        (80, "network/prod · held by ana@ci-7 · 2m13s · you are 2nd of 5 · gives up in 10m"),
        (60, "network/prod · held by ana@ci-7 · 2m13s · you are 2nd of 5"),
        (40, "network/prod · 2m13s · you are 2nd of 5"),
        (30, "2m13s · you are 2nd of 5"),
        (5, "2m13s · you are 2nd of 5"),
    ],
)
def test_on_a_narrow_terminal_our_place_and_the_age_stay_longest(columns: int, line: str) -> None:
    said = live_line("network/prod", message(place=2, length=5, usual_seconds=171.0), NOW, columns)

    assert said == line
    assert len(said) <= max(columns, 24)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (100, "network/prod · held by ana@ci-7 (apply, 2m13s, plain Terraform, no heartbeat) · you are 2nd of 5"),
        (60, "network/prod · held by ana@ci-7 · 2m13s · you are 2nd of 5"),
        (40, "network/prod · 2m13s · you are 2nd of 5"),
        (30, "2m13s · you are 2nd of 5"),
    ],
)
def test_so_they_do_where_the_holder_has_no_heartbeat(columns: int, line: str) -> None:
    waiting = message(record=record(is_leased=False), place=2, length=5)

    assert live_line("network/prod", waiting, NOW, columns) == line


def test_the_live_line_of_a_plain_terraform_says_that_it_has_no_heartbeat():
    line = live_line("app", message(record=record(is_leased=False), place=1, length=1), NOW)

    assert "plain Terraform, no heartbeat" in line
    assert line.endswith("you are 1st of 1 · gives up in 10m")


def test_without_a_line_nothing_is_said_of_places():
    assert standing(message()) == ""


def test_an_estimate_is_said_once_there_is_one():
    said = standing(message(place=3, length=3, usual_seconds=171.0))

    assert said == "You are 3rd of 3; the last runs held it for about 3 min"


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (112, "112th")],
)
def test_places_are_ordinals(number: int, word: str):
    assert ordinal(number) == word


@pytest.mark.parametrize("is_leased", [True, False])
def test_the_message_with_a_place_keeps_to_three_lines_of_a_terminal(is_leased: bool):
    place = standing(message(place=112, length=113, usual_seconds=5400.0))

    text = waiting(Subject("app"), record(is_leased=is_leased), NOW, remaining_seconds=7199, standing=place)

    assert "You are 112th of 113; the last runs held it for about 90 min." in text
    assert len(text.splitlines()) <= 3
    assert max(map(len, text.splitlines())) <= COLUMNS
