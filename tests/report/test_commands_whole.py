"""A command that a message recommends is never cut, however long the way to the state is."""

from __future__ import annotations

import inspect
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

import pytest

from tests.report.test_messages import DEAD, GARBAGE, HELD_BY_HAND, OURS, PLAIN
from tfguard.report.messages import operating, states
from tfguard.report.messages.phrases import Subject

LONG = Subject("l" * 90, "tfguard --config " + "c/" * 60 + "tfguard.yml -p " + "p" * 40)
NOW = datetime(2026, 11, 20, 21, 17, 33, tzinfo=timezone.utc)
#: What a message asks for beside its subject, by the parameter's name.
WORDS = ("lock_id", "wanted", "reason", "why", "effect", "error", "doubt", "outcome", "table", "stored", "actual")
GIVEN: dict[str, Any] = {
    **dict.fromkeys(WORDS, "word"),
    **dict.fromkeys(("seconds", "held_seconds", "heartbeat_seconds"), 9.0),
    **dict.fromkeys(("is_written", "is_changing", "is_known_silent", "is_sure"), True),
    "subject": LONG,
    "now": NOW,
    "ends_at": NOW,
    "planned_at": NOW,
    "path": "/p/errored.tfstate",
    "place": "s3://b/k",
    "exit_code": 1,
    "runs": (),
}
MESSAGES = [
    (module, name)
    for module in (operating, states)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    if "subject" in inspect.signature(function).parameters
]


@pytest.mark.parametrize("record", [OURS, DEAD, PLAIN, GARBAGE, HELD_BY_HAND])
@pytest.mark.parametrize(("module", "name"), MESSAGES)
def test_a_command_is_shown_whole(module: ModuleType, name: str, record: Any) -> None:
    function = getattr(module, name)
    text = function(**{each: {**GIVEN, "record": record}[each] for each in inspect.signature(function).parameters})

    for line in text.splitlines():
        start = line.find("tfguard --config")
        assert start < 0 or line[start:].startswith(f"{LONG.command} "), line
        assert start < 0 or not line.endswith("…"), line
