"""Processes and machines that stand still for a while: rows P1 to P5."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from tests.e2e.running import Running
from tests.faults.scene import SHORT_LEASE, Scene, family, keeper_of, on_both_stores, work_of
from tests.support.eventually import eventually, patience
from tests.support.fakes import FakeClock, T, draft
from tfguard.errors import LeaseLost
from tfguard.guard.watchdog import Action, Watchdog
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.lease import HeldLock

pytestmark = pytest.mark.e2e

#: How long the work may run on between the SIGCONT and the freeze, in seconds: the scheduler's latency.
WINDOW_SECONDS = patience(0.5)


def with_a_rival(scene: Scene) -> tuple[Running, Running]:
    """A run at work and one that waits for its lock."""
    scene.lease = SHORT_LEASE
    return scene.begun(manner="stubborn"), scene.waiter()


def resume(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.resume()


@on_both_stores
def test_p1_a_stopped_keeper_is_replaced_by_the_fronts_watch_until_a_rival_is_in(scene: Scene) -> None:
    """The front freezes the work in time; the keeper wakes, finds the rival's record, and touches nothing."""
    ours, rival = with_a_rival(scene)
    keeper = keeper_of(ours)

    keeper.suspend()
    began = scene.wait_for("b", "begin")
    theirs = scene.record()
    keeper.resume()
    result = ours.end()
    kept = scene.record()
    scene.let_end("b")
    second = rival.end()

    assert scene.lines("a")[-1].at < began.at
    assert result.code == 76, str(result)
    assert theirs is not None and kept is not None and kept.id == theirs.id
    assert second.code == 0, str(second)
    assert scene.proxy.asked("delete") == []


@on_both_stores
def test_p2_all_of_a_run_stopped_past_its_lease_is_ended_before_it_does_harm(scene: Scene) -> None:
    """The work is continued first, as badly as can be: what it still writes until it is frozen is the window."""
    ours, rival = with_a_rival(scene)
    everybody = family(ours.pid)

    for process in everybody:
        process.suspend()
    scene.wait_for("b", "begin")
    theirs = scene.record()
    last = scene.lines("a")[-1]
    resume(list(reversed(everybody)))
    result = ours.end()
    kept = scene.record()
    scene.let_end("b")
    rival.end()

    after = [line.at for line in scene.lines("a") if line.at > last.at]
    window = after[-1] - after[0] if after else 0.0
    print(f"{type(scene.kind).__name__}: the work wrote for {window * 1000:.0f} ms after it was continued")
    assert window <= WINDOW_SECONDS
    assert result.code == 76, str(result)
    assert theirs is not None and kept is not None and kept.id == theirs.id
    assert scene.proxy.asked("delete") == []


@on_both_stores
def test_p3_a_run_that_slept_past_safe_until_goes_on_if_nobody_was_in(scene: Scene) -> None:
    """Frozen on waking, until a beat lands: that proves that the lock was ours all the time."""
    scene.lease = SHORT_LEASE
    ours = scene.beating(manner="stubborn")
    everybody = family(ours.pid)
    last = scene.proxy.landed("replace")[-1].at

    for process in everybody:
        process.suspend()
    clock = scene.clock
    eventually(lambda: clock.boottime() > last + scene.lease + 1, 20, "a sleep longer than the lease")
    beats = len(scene.proxy.beats())
    resume(everybody)
    eventually(lambda: len(scene.proxy.beats()) > beats + 1, 20, "beats again")
    woke = scene.lines("a")[-1].at
    eventually(lambda: scene.lines("a")[-1].at > woke + 0.2, 20, "work again")
    scene.let_end()
    result = ours.end()

    assert result.code in {0, 3}, str(result)
    assert scene.times("a", "asked") <= 1
    assert "lost" not in result.err
    assert scene.record() is None


# --- the same as decisions ------------------------------------------------------------------------------------------


def slept(scene: Scene, seconds: float) -> tuple[HeldLock, Watchdog, FakeClock]:
    """A holder whose machine was suspended in mid-run: boottime has gone on, and nothing else."""
    clock = FakeClock()
    held = Acquirer([scene.through()], draft(), clock).try_acquire()
    watchdog = Watchdog(Deadlines.of(T), held.base)
    clock.advance(seconds)
    return held, watchdog, clock


def test_p3_on_waking_the_freeze_comes_first_and_a_beat_that_lands_ends_it(scene: Scene) -> None:
    held, watchdog, clock = slept(scene, 10 * T)

    first = watchdog.decide(clock.boottime())
    held.renew()
    watchdog.landed(held.base)

    assert first == [Action.FREEZE]
    assert watchdog.decide(clock.boottime()) == [Action.THAW]


def test_p4_a_machine_whose_clock_stood_still_learns_of_the_rival_at_its_next_beat(scene: Scene) -> None:
    """Nothing inside shows the pause, so nothing is frozen: exposed for one heartbeat, as the docs say."""
    held, watchdog, clock = slept(scene, 0)
    outside = FakeClock()
    rival = Acquirer([scene.through()], draft(), outside)
    with pytest.raises(Busy):
        rival.try_acquire()
    outside.advance(T)
    stolen = rival.try_acquire()

    unaware = watchdog.decide(clock.boottime())
    clock.advance(Deadlines.of(T).heartbeat)
    with pytest.raises(LeaseLost) as lost:
        held.renew()
    watchdog.lose(lost.value.kind)

    assert unaware == []
    assert lost.value.record is not None and lost.value.record.id == stolen.id
    assert watchdog.decide(clock.boottime()) == [Action.FREEZE, Action.KILL]


@on_both_stores
def test_p5_a_killed_keeper_has_a_successor_and_beats_only_grow(scene: Scene) -> None:
    """One SIGINT for the work, then the same lease goes on under another keeper, and is released in the end."""
    ours = scene.beating(manner="stubborn")
    work = work_of(ours)

    keeper_of(ours).kill()
    scene.wait_for("a", "asked")
    beats = len(scene.proxy.beats())
    eventually(lambda: len(scene.proxy.beats()) > beats + 2, 20, "the successor's beats")
    assert work.is_running()
    scene.let_end()
    result = ours.end()

    assert result.code == 3, str(result)
    assert scene.times("a", "asked") == 1
    assert scene.proxy.beats() == sorted(set(scene.proxy.beats()))
    assert len(scene.proxy.asked("create")) == 1
    assert scene.record() is None
