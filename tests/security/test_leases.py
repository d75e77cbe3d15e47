"""
A lease is between half a minute and an hour, whoever wrote it: no record makes a living run look dead at once, and
none keeps the lock of a dead one for years.
"""

from __future__ import annotations

import ast

import msgspec
import pytest

from tests.e2e.conftest import ROOT
from tests.support import sources
from tests.support.fakes import FakeClock, anothers
from tfguard.lock import verdicts
from tfguard.lock.acquire import Watch
from tfguard.lock.deadlines import Deadlines, bounded_lease_seconds
from tfguard.lock.opened_lock import OpenedLock, Seen, watch_seconds
from tfguard.lock.store import LockRecord

MAX_COUNT = 2**53
SHORTEST, LONGEST = 30.0, 3600.0


@pytest.fixture(autouse=True)
def as_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease as short as those of the other tests."""
    monkeypatch.delenv("TFGUARD_TEST_SHORT_LEASE")


def leased(duration_ms: int) -> LockRecord:
    record = anothers()
    assert record.lease
    return msgspec.structs.replace(record, lease=msgspec.structs.replace(record.lease, duration_ms=duration_ms))


@pytest.mark.parametrize(
    ("duration_ms", "seconds"),
    [(0, SHORTEST), (2, SHORTEST), (29_999, SHORTEST), (60_000, 60.0), (3_600_001, LONGEST), (MAX_COUNT, LONGEST)],
)
def test_whoever_reads_a_lease_keeps_it_within_bounds(duration_ms: int, seconds: float) -> None:
    record, clock, watch = leased(duration_ms), FakeClock(), Watch()

    watch.see(record, clock.boottime())

    assert watch.expires_in(clock.boottime()) == seconds
    assert verdicts.judge(record, clock, has_leases=True) is not verdicts.Verdict.EXPIRED
    assert f"{seconds:g}" in str(Deadlines.of(record.lease.seconds).takeover)


@pytest.mark.parametrize(
    ("said", "seconds"), [("10s", 10.0), ("1s", 5.0), ("0s", 5.0), ("2m", SHORTEST), ("soon", SHORTEST), ("", SHORTEST)]
)
def test_an_operator_lowers_the_shortest_lease_within_bounds(
    monkeypatch: pytest.MonkeyPatch, said: str, seconds: float
) -> None:
    monkeypatch.setenv("TFGUARD_SHORTEST_LEASE", said)

    assert bounded_lease_seconds(2.0) == seconds


def test_unlock_watches_no_longer_than_the_longest_lease() -> None:
    lock = OpenedLock([], Deadlines.of)
    seen = [Seen(record=leased(MAX_COUNT), place="", has_leases=True, index=0)]

    assert watch_seconds(lock, seen) < LONGEST


def test_nobody_reads_a_records_lease_as_it_is_written() -> None:
    reads = {
        (path.relative_to(ROOT / "tfguard").as_posix(), ast.unparse(node))
        for path in ROOT.glob("tfguard/**/*.py")
        for node in ast.walk(sources.tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "duration_ms"
    }

    # What bounds it, and a draft's own, as it is written.
    assert reads == {("lock/store.py", "self.duration_ms"), ("lock/acquire.py", "self.duration_ms")}
