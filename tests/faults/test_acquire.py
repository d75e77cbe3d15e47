"""Taking a lock when answers get lost: rows A1 to A8."""

from __future__ import annotations

import pytest

from tests.faults.proxy import HANGS_AFTER_LANDING, LOST, UNHEARD, Fate, failed
from tests.faults.scene import Scene

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    "fate", [UNHEARD, HANGS_AFTER_LANDING, failed("500")], ids=["closed", "read-timeout", "500-though-done"]
)
def test_a1_a_lock_whose_answer_was_lost_is_ours_at_once(scene: Scene, fate: Fate) -> None:
    """The run starts at once, under the one ID that was written; it never waits for itself, and leaves nothing."""
    scene.proxy.on("create", fate)

    ours = scene.run(timeout="0s", argv=["true"])
    result = ours.end()

    assert result.code == 0, str(result)
    assert len(scene.proxy.asked("create")) == 1
    assert "held by" not in result.err
    assert scene.record() is None


def test_a2_a_lock_that_never_arrived_is_asked_for_again(scene: Scene) -> None:
    """Retried, and the program is started once."""
    scene.proxy.on("create", LOST, LOST)
    scene.let_end("a")

    result = scene.run().end()

    assert result.code == 0, str(result)
    assert scene.times("a", "begin") == 1
    assert len(scene.proxy.landed("create")) == 1
    assert scene.record() is None
