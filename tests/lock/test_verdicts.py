"""What one look at a lock record tells."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from tfguard.clock import boot_id, created
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.protocol import TakeoverPolicy
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.lock.verdicts import Verdict, exact_silence_seconds, in_words, judge, needs_person, silence_seconds

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
BOOTTIME = 5000.0


class Still:
    """A clock that stands still."""

    def boottime(self) -> float:
        return BOOTTIME

    def now(self) -> datetime:
        return NOW


def record(silence: float, *, boot: str = "another", hold_until: str = "", wall_clock_error: float = 0.0) -> LockRecord:
    info = LockInfo(id="1", created=created(NOW))
    lease = Lease(
        beat=7,
        duration_ms=180_000,
        holder=Holder(who="ana@ci-7"),
        boot=boot,
        sent=BOOTTIME - silence,
        beaten_at=created(NOW - timedelta(seconds=silence + wall_clock_error)),
        hold_until=hold_until,
        reason="migration",
    )
    return LockRecord(text=info.encode(), info=info, lease=lease)


@pytest.mark.parametrize(
    ("silence", "verdict", "says"),
    [
        (4, Verdict.ALIVE, "alive"),
        (29, Verdict.ALIVE, "alive"),
        (50, Verdict.LATE, "late: without a heartbeat, whoever waits takes over in 2m10s"),
        (180, Verdict.EXPIRED, "expired: the next run will take over in 3m"),
        (9999, Verdict.EXPIRED, "expired: the next run will take over in 3m"),
    ],
)
def test_silence_decides_between_alive_late_and_expired(silence: float, verdict: Verdict, says: str) -> None:
    found = judge(record(silence), Still(), has_leases=True)

    assert found is verdict
    assert in_words(found, record(silence), Still()) == says


@pytest.mark.parametrize(
    ("policy", "is_changing", "says"),
    [
        ("always", True, "expired: the next run will take over in 3m"),
        ("plan-only", False, "expired: the next run will take over in 3m"),
        ("plan-only", True, "expired: left for a person, or the next plan (lock.takeover: plan-only)"),
        ("never", False, "expired: left for a person (lock.takeover: never)"),
    ],
)
def test_what_follows_from_a_dead_holder_is_what_the_policy_lets_follow(
    policy: TakeoverPolicy, is_changing: bool, says: str
) -> None:
    dead = record(180)
    assert dead.lease is not None
    dead = msgspec.structs.replace(dead, lease=msgspec.structs.replace(dead.lease, is_changing=is_changing))

    assert in_words(Verdict.EXPIRED, dead, Still(), policy) == says
    assert needs_person(Verdict.EXPIRED, dead, policy) == ("person" in says)


def test_on_the_same_boot_wall_clocks_do_not_count() -> None:
    same = record(4, boot=boot_id(), wall_clock_error=3600)

    assert silence_seconds(same, Still()) == 4
    assert judge(same, Still(), has_leases=True) is Verdict.ALIVE


def test_a_clock_that_is_behind_makes_nobody_younger_than_now() -> None:
    assert silence_seconds(record(0, wall_clock_error=-3600), Still()) == 0


def test_of_another_boot_nothing_is_known_exactly() -> None:
    assert exact_silence_seconds(record(4), Still()) is None


def test_a_plain_lock_has_no_heartbeat_and_never_expires() -> None:
    info = LockInfo(id="1", created=created(NOW - timedelta(days=30)))
    plain = LockRecord(text=info.encode(), info=info)

    assert judge(plain, Still(), has_leases=True) is Verdict.PLAIN
    assert silence_seconds(plain, Still()) is None


def test_a_local_lock_is_the_kernels() -> None:
    assert judge(record(9999), Still(), has_leases=False) is Verdict.KERNEL


def test_a_hold_says_until_when_and_why() -> None:
    held = record(9999, hold_until="2026-11-21T14:00:00Z")

    found = judge(held, Still(), has_leases=True)

    assert found is Verdict.HOLD
    assert in_words(found, held, Still()) == "held by hand until 2026-11-21 14:00:00 UTC: migration"


def test_garbage_is_called_so() -> None:
    assert judge(LockRecord(text="?", info=None), Still(), has_leases=True) is Verdict.UNREADABLE
