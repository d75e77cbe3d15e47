"""What those read who look after a lock of their own name: each command names it, and nothing is said of a state."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest

from tests.report.test_messages import NAMED, NOW, OURS
from tfguard.report.messages import operating

ENDS_AT = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
SAID = {
    "not held": operating.not_held(NAMED, OURS, NOW),
    "held by hand": operating.held_by_hand(NAMED, "an-id", "maintenance", ENDS_AT),
    "alive": operating.is_alive(NAMED, OURS, NOW),
    "has changed": operating.has_changed(NAMED, OURS, NOW),
    "is another": operating.is_another(NAMED, "an-id", OURS, NOW),
    "needs answers": operating.needs_answers(NAMED, OURS, NOW),
    "needs force": operating.needs_force(NAMED),
    "consequence": operating.consequence(OURS, heartbeat_seconds=10, is_known_silent=False),
    "unlocked": operating.unlocked(NAMED, OURS, NOW, is_written=False),
}


@pytest.mark.parametrize("text", SAID.values(), ids=SAID)
def test_every_command_names_the_lock_and_nothing_is_said_of_a_state(text: str) -> None:
    commands = re.findall(r"tfguard (?:status|unlock|hold|history)\b.*", text)

    assert [command for command in commands if NAMED.lock_options not in command] == []
    assert not re.search(r"\bstate\b|[Tt]erraform|\bplan\b", text.replace(NAMED.lock_options, ""))
