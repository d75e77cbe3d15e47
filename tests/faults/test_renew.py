"""Heartbeats whose requests or answers get lost, and outages of every length: rows R1 to R7."""

from __future__ import annotations

import psutil
import pytest

from tests.e2e.running import Running
from tests.faults.proxy import HANGS, LOST, TWICE, UNHEARD, Fate, failed, refused
from tests.faults.scene import SHORT_LEASE, Scene, lock_id_said, on_every_store, work_of
from tests.support.eventually import eventually, patience
from tfguard.lock.deadlines import Deadlines

pytestmark = pytest.mark.e2e


def is_frozen(ours: Running) -> bool:
    return bool(work_of(ours).status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("fate", [UNHEARD, failed("500")], ids=["r1-answer-lost", "r7-500-though-done"])
@on_every_store
def test_r1_r7_a_beat_that_landed_unheard_is_no_loss(scene: Scene, fate: Fate) -> None:
    """Whether once, three times or always: it is looked for, found, and counts: the work goes on."""
    scene.proxy.always("replace", fate)
    ours = scene.begun(manner="stubborn")

    silence_that_would_interrupt = Deadlines.of(scene.lease).interrupt
    enough = 2 + int(silence_that_would_interrupt / scene.heartbeat)
    eventually(lambda: len(scene.proxy.beats()) > enough, 30, "so many beats")
    scene.let_end()
    result = ours.end()

    assert result.code == 0, str(result)
    assert scene.times("a", "asked") == 0
    assert scene.record() is None


@on_every_store
def test_r1_a_beat_that_nobody_can_confirm_does_not_count(scene: Scene) -> None:
    """Every beat lands, and nothing is ever heard of it: the lease is counted from the last that was confirmed."""
    scene.lease = SHORT_LEASE
    ours = scene.beating(manner="stubborn")
    deadlines = Deadlines.of(scene.lease)
    last = scene.proxy.asked("replace")[-1].at
    scene.proxy.always("replace", UNHEARD)
    scene.proxy.always("read", UNHEARD)

    asked = scene.wait_for("a", "asked")
    eventually(lambda: is_frozen(ours), 20, "the freeze")
    frozen_at = scene.lines("a")[-1].at
    scene.proxy.heal()
    eventually(lambda: scene.lines("a")[-1].at > frozen_at + 0.5, 20, "the thaw")
    scene.let_end()
    result = ours.end()

    assert deadlines.interrupt - patience(0.1) <= asked.at - last < frozen_at - last < deadlines.takeover
    assert scene.times("a", "asked") == 1
    assert scene.proxy.beats() == sorted(set(scene.proxy.beats()))
    assert result.code == 3, str(result)
    assert scene.record() is None


@on_every_store
def test_r2_a_few_lost_beats_are_no_reason_to_stop(scene: Scene) -> None:
    """Two in a row: the next that lands sets everything right."""
    scene.lease = 30.0
    ours = scene.beating(manner="stubborn")
    count = len(scene.proxy.beats())
    scene.proxy.on("replace", LOST, LOST)
    eventually(lambda: len(scene.proxy.beats()) > count + 1, 30, "beats again")
    scene.let_end()
    result = ours.end()

    assert result.code == 0, str(result)
    assert scene.times("a", "asked") == 0
    assert scene.record() is None


@on_every_store
def test_r2_r5_a_partition_past_the_interrupt_stops_the_run_once_and_the_lock_is_released(scene: Scene) -> None:
    """Healed before the freeze: one SIGINT at a third of the lease, a clean end, and nothing left behind."""
    scene.lease = SHORT_LEASE
    ours = scene.beating()
    scene.proxy.always("all", LOST)
    last = scene.proxy.landed("replace")[-1].at

    asked = scene.wait_for("a", "asked")
    scene.proxy.heal()
    result = ours.end()

    deadlines = Deadlines.of(scene.lease)
    assert deadlines.interrupt - patience(0.1) <= asked.at - last < deadlines.freeze
    assert scene.times("a", "asked") == 1
    assert "no heartbeat has landed" in result.err
    assert result.code == 3, str(result)
    assert scene.record() is None


@on_every_store
def test_r3_a_store_that_never_answers_delays_no_deadline(scene: Scene) -> None:
    """Connections are taken and nothing comes: interrupted, frozen; once it answers, thawed and still ours."""
    scene.lease = SHORT_LEASE
    ours = scene.beating(manner="stubborn")
    lock_id = lock_id_said(ours)
    scene.proxy.always("all", HANGS)
    last = scene.proxy.landed("replace")[-1].at

    asked = scene.wait_for("a", "asked")
    eventually(lambda: is_frozen(ours), 20, "the freeze")
    frozen_at = scene.lines("a")[-1].at
    still_held = scene.record()
    scene.proxy.heal()
    eventually(lambda: scene.lines("a")[-1].at > frozen_at + 0.5, 20, "the thaw")
    scene.let_end()
    result = ours.end()

    assert asked.at - last < frozen_at - last < Deadlines.of(scene.lease).takeover
    assert still_held is not None and still_held.id == lock_id
    assert result.code == 3, str(result)
    assert scene.times("a", "asked") == 1
    assert scene.record() is None


@on_every_store
def test_r4_a_late_copy_of_an_old_beat_is_refused(scene: Scene) -> None:
    """The number of the heartbeat never goes back, and the run goes on."""
    ours = scene.beating(manner="stubborn")
    scene.proxy.on("replace", TWICE)
    count = len(scene.proxy.beats())
    eventually(lambda: len(scene.proxy.beats()) > count + 3, 20, "newer beats")

    late = scene.proxy.land_late()
    eventually(lambda: len(scene.proxy.beats()) > count + 6, 20, "more beats")
    scene.let_end()
    result = ours.end()

    assert all(status in {400, 409, 412} for status in late) and late
    assert scene.proxy.beats() == sorted(set(scene.proxy.beats()))
    assert result.code == 0, str(result)
    assert scene.times("a", "asked") == 0
    assert scene.record() is None


@on_every_store
def test_r5_a_partition_longer_than_the_lease_freezes_the_run_before_a_rival_begins(scene: Scene) -> None:
    """From the rival's beginning on the first writes nothing; healed, it is killed, and spares the rival's lock."""
    scene.lease = SHORT_LEASE
    ours = scene.begun(manner="stubborn")
    rival = scene.waiter()
    scene.proxy.always("all", LOST)

    began = scene.wait_for("b", "begin")
    theirs = scene.record()
    scene.proxy.heal()
    result = ours.end()
    kept = scene.record()
    scene.let_end("b")
    second = rival.end()

    assert scene.lines("a")[-1].at < began.at
    assert scene.times("a", "asked") == 1
    assert result.code == 76, str(result)
    assert theirs is not None and kept is not None and kept.id == theirs.id
    assert second.code == 0, str(second)
    assert scene.proxy.asked("delete") == []
    assert scene.record() is None


@on_every_store
def test_r6_expired_credentials_are_waited_out_and_never_taken_for_a_theft(scene: Scene) -> None:
    scene.lease = 24.0  # Between the warning and the interrupt there is time to heal.
    ours = scene.beating(manner="stubborn")
    scene.proxy.always("all", refused("expired"))
    ours.wait_for("no heartbeat has landed")
    count = len(scene.proxy.beats())

    scene.proxy.heal()
    eventually(lambda: len(scene.proxy.beats()) > count, 30, "heartbeats again")
    scene.let_end()
    result = ours.end()

    assert result.code == 0, str(result)
    assert scene.times("a", "asked") == 0
    assert "lost" not in result.err
    assert scene.record() is None
