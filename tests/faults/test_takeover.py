"""
Taking over from the dead, and from nobody else: rows T1 to T7.

T1 is played by processes. The others are decisions: the real lease code on the real stores' conditional writes, under
clocks that only the test moves.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.contract.kinds import lease, record
from tests.faults.scene import SHORT_LEASE, LocalScene, Scene, family, is_gone, keeper_of, on_every_store, work_of
from tests.support.eventually import eventually, patience
from tests.support.fakes import FakeClock, T, anothers, draft, plain
from tfguard.errors import LeaseLost
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.lease import HeldLock

pytestmark = pytest.mark.e2e


class DriftingClock(FakeClock):
    """A FakeClock that runs at `rate`, and whose wall clock is wrong by `offset` seconds."""

    def __init__(self, rate: float, offset: float) -> None:
        super().__init__()
        self._rate = rate
        self.jump(offset)

    def advance(self, seconds: float) -> None:
        super().advance(seconds * self._rate)


def waiter(scene: Scene, clock: FakeClock, *, lease_seconds: float = T) -> Acquirer:
    """Somebody who wants the lock, and has seen who holds it."""
    made = Acquirer([scene.through()], draft(lease_seconds=lease_seconds), clock)
    with pytest.raises(Busy):
        made.try_acquire()
    return made


def holder(scene: Scene, clock: FakeClock, *, lease_seconds: float = T) -> HeldLock:
    return Acquirer([scene.through()], draft(lease_seconds=lease_seconds), clock).try_acquire()


# --- T1 -------------------------------------------------------------------------------------------------------------


@on_every_store
def test_t1_when_the_machine_is_lost_the_lock_is_taken_one_lease_after_the_last_beat(scene: Scene) -> None:
    """Not before T, and not later than two looks after it."""
    scene.lease = SHORT_LEASE
    ours = scene.beating(manner="stubborn")
    heir = scene.waiter()

    everybody = family(ours.pid)
    for process in everybody:
        process.suspend()  # So that nobody acts upon the death of another.
    for process in everybody:
        process.kill()
    last = scene.proxy.landed("replace")[-1].at
    began = scene.wait_for("b", "begin")
    scene.let_end("b")
    result = heir.end()

    assert scene.lease <= began.at - last <= scene.lease + 2 * 1.1 + patience(1)
    assert "took the lock over" in result.err
    assert result.code == 0, str(result)
    assert scene.record() is None


@on_every_store
def test_t1_when_front_and_keeper_are_killed_the_work_does_not_outlive_safe_until(scene: Scene) -> None:
    """It has one SIGINT at once; if it is still there when the lease is no longer safe, it is killed before T."""
    scene.lease = SHORT_LEASE
    ours = scene.beating(manner="stubborn")
    work, keeper = work_of(ours), keeper_of(ours)
    heir = scene.waiter()

    keeper.suspend()  # So that it does not see the front's death before its own.
    psutil.Process(ours.pid).kill()
    keeper.kill()
    scene.wait_for("a", "asked")
    eventually(lambda: is_gone(work), 20, "the end of the work")
    began = scene.wait_for("b", "begin")
    scene.let_end("b")
    result = heir.end()

    assert scene.lines("a")[-1].at < began.at
    assert scene.times("a", "asked") == 1
    assert result.code == 0, str(result)
    assert scene.record() is None


def test_t1_a_local_lock_is_not_free_before_the_work_has_ended(tmp_path: Path) -> None:
    """The kernel ends such a lock with its last holder: while the work goes on, that is the sentinel."""
    scene = LocalScene(tmp_path)
    ours = scene.begun(manner="stubborn")
    work, keeper = work_of(ours), keeper_of(ours)

    keeper.suspend()
    psutil.Process(ours.pid).kill()
    keeper.kill()
    scene.wait_for("a", "asked")
    meanwhile = scene.run("b", timeout="0s", argv=["true"]).end()
    scene.let_end()
    eventually(lambda: is_gone(work), 20, "the end of the work")
    after = scene.run("b", timeout="10m", argv=["true"]).end()
    scene.close()

    assert meanwhile.code == 75, str(meanwhile)
    assert after.code == 0, str(after)


# --- T2 to T7 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["renewal", "takeover"])
def test_t2_of_a_renewal_and_a_takeover_one_lands(scene: Scene, first: str) -> None:
    """The one that comes second is refused: the thief waits a lease anew, or the holder learns whose the lock is."""
    clock = FakeClock()
    held = holder(scene, clock)
    thief = waiter(scene, clock)
    clock.advance(T)

    if first == "renewal":
        scene.proxy.before_next("replace", held.renew)
        with pytest.raises(Busy):
            thief.try_acquire()
        clock.advance(1)
        assert held.renew()
    else:
        stolen = thief.try_acquire()
        with pytest.raises(LeaseLost) as lost:
            held.renew()
        assert (lost.value.kind, lost.value.record.id) == ("another's", stolen.id)


@pytest.mark.parametrize("count", [2, 10])
def test_t3_of_many_thieves_one_wins_and_the_others_begin_to_count_anew(scene: Scene, count: int) -> None:
    clock = FakeClock()
    scene.overwrite(anothers())
    thieves = [waiter(scene, clock) for _ in range(count)]
    clock.advance(T)

    won, waiting = [], []
    for thief in thieves:
        try:
            won.append(thief.try_acquire())
        except Busy:
            waiting.append(thief)
    clock.advance(T - 1)
    for thief in waiting:
        with pytest.raises(Busy):
            thief.try_acquire()

    assert len(won) == 1
    found = scene.record()
    assert found is not None and found.id == won[0].id


def test_t4_a_waiter_goes_by_the_lease_in_the_record(scene: Scene) -> None:
    clock = FakeClock()
    scene.overwrite(anothers(lease_seconds=T))
    short = waiter(scene, clock, lease_seconds=10)

    clock.advance(T - 1)
    with pytest.raises(Busy):
        short.try_acquire()
    clock.advance(1)

    assert short.try_acquire()


@on_every_store
def test_t5_a_plain_terraforms_lock_is_never_taken(scene: Scene) -> None:
    clock = FakeClock()
    scene.overwrite(plain())
    patient = waiter(scene, clock)

    for _ in range(4):
        clock.advance(12 * 3600)
        with pytest.raises(Busy):
            patient.try_acquire()


def test_t6_a_lock_long_dead_is_not_taken_on_first_sight(scene: Scene) -> None:
    """There is no fast path: one lease of one's own watching, whatever the record's times say."""
    clock = FakeClock()
    scene.overwrite(record(lease=lease()))
    clock.jump(10 * 24 * 3600)

    newcomer = waiter(scene, clock)
    clock.advance(T - 1)
    with pytest.raises(Busy):
        newcomer.try_acquire()
    clock.advance(1)

    assert newcomer.try_acquire()


@pytest.mark.parametrize(("mine", "theirs", "offset"), [(0.75, 1.25, 3600.0), (1.25, 0.75, -3600.0)])
@on_every_store
def test_t7_wrong_clocks_take_nothing_before_its_holder_has_stopped(
    scene: Scene, mine: float, theirs: float, offset: float
) -> None:
    """A holder whose clock is slow and a waiter whose clock is fast: `safe_until` still comes first."""
    holders, waiters = DriftingClock(mine, offset), DriftingClock(theirs, -offset)
    held = holder(scene, holders)
    thief = waiter(scene, waiters)
    safe_until = held.base + T * 3 / 5

    stolen = None
    while stolen is None:
        was_writing = holders.boottime() < safe_until
        try:
            stolen = thief.try_acquire()
        except Busy:
            holders.advance(5)
            waiters.advance(5)

    assert not was_writing
