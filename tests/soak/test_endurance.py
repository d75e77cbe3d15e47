"""
One run held for long, with credentials that live for seconds: it costs nothing more with time, and beats on time.

Short here; `TFGUARD_ENDURANCE_MINUTES=30` is the long form, with the default lease.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.conftest import DynamoDB
from tests.e2e.conftest import TFGUARD, Stage, base_environ
from tests.e2e.running import running
from tests.soak.expiring import expiring
from tests.support.eventually import eventually, patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("TFGUARD_ENDURANCE_MINUTES", "0.35")) * 60
IS_LONG = SECONDS >= 300
LEASE_SECONDS = 180 if IS_LONG else 18
CREDENTIALS_SECONDS = 90 if IS_LONG else 15
#: Measured from the first third of the run to the last: what may come of arenas that settle.
GROWTH_BYTES = 3 << 20
WORK = "while ! test -e gate; do echo still at work; sleep 0.5; done"


@dataclass
class Samples:
    """What one process took, looked at again and again."""

    process: psutil.Process
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self) -> None:
        self.memory.append(self.process.memory_info().rss)
        self.descriptors.append(self.process.num_fds())

    @property
    def growth(self) -> int:
        """Bytes gained."""
        return _gained(self.memory)

    @property
    def more_descriptors(self) -> int:
        """Descriptors gained; one that is open for a moment, while credentials are renewed, does not count."""
        return _gained(self.descriptors)

    def __str__(self) -> str:
        return f"{self.memory[-1] >> 20} MiB ({self.growth >> 10:+} KiB), {self.descriptors[-1]} descriptors"


def _gained(samples: list[int]) -> int:
    """From the median of the second third to that of the last: the first is for settling in."""
    third = len(samples) // 3
    return int(statistics.median(samples[-third:]) - statistics.median(samples[third : 2 * third]))


def test_a_long_run_neither_grows_nor_beats_late_though_its_credentials_expire(
    dynamodb: DynamoDB, tmp_path: Path
) -> None:
    made = Stage(tmp_path, "dynamodb", environ=dict(base_environ(tmp_path)), table=dynamodb.table(), dynamodb=dynamodb)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del made.environ[name]
    with expiring(dynamodb.endpoint, CREDENTIALS_SECONDS) as (between, issuer):
        made.environ |= issuer.environ
        store = f"dynamodb://{made.table}?region=us-east-1&endpoint={between.endpoint}"
        command = [*TFGUARD, "exec", "--name", "endurance", "--store", store, "--", "sh", "-c", WORK]
        with running(made.start(command, TFGUARD_LOCK_LEASE=f"{LEASE_SECONDS}s")) as ours:
            ours.wait_for("still at work")
            samples = {name: Samples(process) for name, process in ours_of(ours.pid).items()}
            until = time.monotonic() + SECONDS
            while time.monotonic() < until and ours.process.poll() is None:
                for each in samples.values():
                    each.take()
                time.sleep(min(1.0, SECONDS / 60))
            made.open_gate()
            result = ours.end()
        refused, sets, beats = issuer.refused, len(issuer.issued), issuer.beats()

    latest = max(late - early for early, late in itertools.pairwise(beats))
    period = LEASE_SECONDS / 18
    print(
        f"figures: endurance: {SECONDS / 60:.1f} min, {len(beats)} heartbeats of {period:.0f} s, the latest after "
        f"{latest:.1f} s; {sets} sets of credentials of {CREDENTIALS_SECONDS} s, {refused} requests with expired ones; "
        + "; ".join(f"{name} {each}" for name, each in samples.items())
    )
    assert result.code == 0, str(result)
    assert set(samples) == {"front", "keeper", "sentinel"}
    assert latest <= 1.1 * period + patience(0.4)
    assert len(beats) >= SECONDS / (1.1 * period + patience(0.05)) - 1
    assert refused == 0
    assert sets >= SECONDS / CREDENTIALS_SECONDS
    for name, each in samples.items():
        assert each.growth < GROWTH_BYTES, f"{name}: {each}"
        assert each.more_descriptors <= 0, f"{name}: {each.descriptors}"
    assert dynamodb.item(made.table, "endurance") is None


def ours_of(pid: int) -> dict[str, psutil.Process]:
    """The front, the keeper and the sentinel of a run."""
    front = psutil.Process(pid)

    def find() -> dict[str, psutil.Process]:
        found = {"front": front}
        for process in front.children(recursive=True):
            words = " ".join(process.cmdline())
            if "tfguard-keeper" in words:
                found["keeper"] = process
            elif "tfguard-sentinel" in words:
                found["sentinel"] = process
        assert len(found) == 3, found
        return found

    return eventually(find, 10, "all three processes")
