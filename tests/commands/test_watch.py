"""A look that is taken again and again: renewed in place on a terminal, a line for each change elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.report.test_table import on_terminal
from tfguard.commands import watch as watching
from tfguard.commands.status import _HUES, HEADINGS, row
from tfguard.commands.watch import pace_seconds, watch

SCRIPT = """
from tests.commands import test_watch as test
from tfguard.commands import status, watch as watching
watching._PACE_SECONDS = 0.0
test.show()
"""


def facts(label: str, *, is_held: bool, waiting: int = 0) -> dict[str, Any]:
    lock = {"id": "1", "verdict": "alive", "says": "alive", "needs_person": False, "mend": "", "since": ""}
    lock |= {"who": "ana\x1b[2J@ci", "command": "apply", "run": "", "link": ""}
    lock |= {"place": "locks", "token": 0, "heartbeat_age_s": None}
    line = [{"who": f"bob-{number}"} for number in range(waiting)]
    known = {"label": label, "is_held": is_held, "locks": [lock] if is_held else [], "line": line}
    return known | {"last_run": None, "problem": "", "mend": "", "doubt": "", "source": ""}


LOOKS = [
    [facts("prod", is_held=True), facts("dev", is_held=False)],
    [facts("prod", is_held=True), facts("dev", is_held=False)],
    [facts("prod", is_held=True, waiting=2), facts("dev", is_held=False)],
    [facts("dev", is_held=False)],
]


def show(as_lines: Any = None) -> None:
    looks = iter(LOOKS)

    def look() -> list[dict[str, Any]]:
        found = next(looks, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    try:
        watch(look, as_lines, HEADINGS, row, _HUES)
    except KeyboardInterrupt:
        print("ended")


def test_without_a_terminal_only_what_changes_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PACE_SECONDS", 0.0)

    show()

    lines = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert [line[:2] for line in lines] == [["prod", "held"], ["dev", "free"], ["prod", "held"], ["prod", "free"]]
    assert lines[2][-1] == "2"
    assert not any("\x1b" in word for line in lines for word in line)


def test_on_a_terminal_the_picture_is_renewed_in_place() -> None:
    shown = on_terminal(100, "-c", SCRIPT)

    assert shown.count("\x1b[1A") >= 3  # back up to where the picture began
    assert "\x1b[2J" not in shown
    assert "Ctrl-C ends it" in shown
    assert "ended" in shown


@pytest.mark.parametrize("of", ["", "lambda facts: status._lines_of_one(facts[:1])"], ids=["many", "one"])
def test_it_has_the_colours_of_a_single_look(of: str) -> None:
    script = SCRIPT.replace("test.show()", f"test.show({of})")

    assert "\x1b[33mheld" in on_terminal(100, "-c", script)
    assert "\x1b[33m" not in on_terminal(100, "-c", script, NO_COLOR="1")


def test_a_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in on_terminal(100, "-c", SCRIPT, TERM="dumb")


def test_of_many_locks_a_look_is_taken_less_often() -> None:
    assert (pace_seconds(3), pace_seconds(400)) == (5.0, 50.0)
