"""A lock that somebody takes away while its run is at work: rows L1 to L3."""

from __future__ import annotations

import pytest

from tests.contract.kinds import lease, record
from tests.faults.scene import Scene

pytestmark = pytest.mark.e2e


def test_l1_a_record_that_a_person_deletes_ends_the_run_within_one_heartbeat(scene: Scene) -> None:
    """One SIGINT, exit 76, and the lock is neither re-created nor deleted again."""
    scene.lease = 18.0
    ours = scene.beating()

    scene.remove()
    gone_at = scene.clock.boottime()
    scene.wait_for("a", "asked")
    result = ours.end()

    assert len([beat for beat in scene.proxy.asked("replace") if beat.at > gone_at]) <= 1
    assert scene.times("a", "asked") == 1
    assert result.code == 76, str(result)
    assert "the lock was lost: somebody unlocked it while we held it" in result.err
    assert len(scene.proxy.asked("create")) == 1
    assert scene.proxy.asked("delete") == []
    assert scene.record() is None


def test_l2_d4_whoever_locked_after_an_unlock_keeps_his_lock_when_we_finish(scene: Scene) -> None:
    """We finish before we notice: the release finds another's record, touches nothing, and says that it was lost."""
    scene.lease = 120.0
    ours = scene.beating()

    theirs = record(lease=lease())
    scene.overwrite(theirs)
    scene.let_end()
    result = ours.end()

    kept = scene.record()
    assert kept is not None and kept.id == theirs.id
    assert result.code == 76, str(result)
    assert "the lock was lost before the run had ended: somebody unlocked it, and another run holds it" in result.err
    assert not any(request.succeeded for request in scene.proxy.asked("delete"))


def test_l3_between_a_beat_and_a_rivals_write_one_wins(scene: Scene) -> None:
    """The rival's write lands just before ours: ours is refused, our work is killed, the rival's lock stays."""
    ours = scene.beating(manner="stubborn")
    theirs = record(lease=lease())

    scene.proxy.before_next("replace", lambda: scene.overwrite(theirs))
    result = ours.end()

    kept = scene.record()
    assert kept is not None and kept.id == theirs.id
    assert result.code == 76, str(result)
    assert scene.times("a", "end") == 0
    assert scene.proxy.asked("delete") == []
