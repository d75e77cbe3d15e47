from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.durations import format_duration, parse_duration, spoken_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("1.s", 1),
        ("+3s", 3),
        ("-1s", -1),
        ("1m1h", 3660),
        ("250us", 0.00025),
        ("250µs", 0.00025),
    ],
)
def test_a_duration_means_what_go_means(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        ".",
        ".s",
        "1d",
        "3 s",
        " 3s",
        "3s ",
        "1h 30m",
        "--1s",
        "1h30",
        "3S",
        "٣s",
        "1e3s",
        "inf",
        "9999999h",
    ],
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "90s"),
        (133, "2m13s"),
        (600, "10m"),
        (5400, "1h30m"),
        (-5, "-5s"),
    ],
)
def test_a_duration_is_written_as_a_person_would(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_written_reads_back_the_same_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.text(alphabet="0123456789.smhnuµ+- ", max_size=12))
def test_reading_gives_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_duration(text), float)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (4.9, "4 s"),
        (133, "2m13s"),
        (14 * 60 + 5, "14 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (300000, "3 days"),
    ],
)
def test_people_hear_no_more_than_they_care_for(seconds: float, text: str) -> None:
    assert spoken_duration(seconds) == text
