"""
Many waiters on one lock: requests, units and hand-overs; and what holding a lock costs.

The real waiting code on a clock moved by hand (`tests/line_world.py`): a machine with two cores has no room for five
hundred keepers. Prices are those of DynamoDB on demand and S3 standard in us-east-1, 2026.
"""

from __future__ import annotations

import statistics
from typing import Any

from tests.support.line_world import World
from tfguard.lock.deadlines import Deadlines

HOLD_SECONDS = 60.0
SETTLE_SECONDS = 120.0
MEASURED_SECONDS = 1200.0
WRITE_DOLLARS = 0.625e-6
READ_DOLLARS = 0.125e-6
PUT_DOLLARS = 5e-6


def scale(count: int) -> dict[str, Any]:
    """Measure a line of `count` that stays as long as it is: who has held the lock comes back to its end."""
    world = World()
    for number in range(count + 1):
        world.tfguard(f"w{number}", at=number * 0.05, hold=HOLD_SECONDS, comes_back=True)
    world.run(until=SETTLE_SECONDS)
    before = (world.requests.total, world.requests.write_units, world.requests.read_units, len(world.acquired))
    world.run(until=SETTLE_SECONDS + MEASURED_SECONDS)
    requests = world.requests.total - before[0]
    writes, reads = world.requests.write_units - before[1], world.requests.read_units - before[2]
    hours = MEASURED_SECONDS / 3600
    return {
        "waiters": count,
        "requests_per_s": round(requests / MEASURED_SECONDS, 1),
        "write_units_per_h": round(writes / hours),
        "read_units_per_h": round(reads / hours),
        "dollars_per_h": round((writes * WRITE_DOLLARS + reads * READ_DOLLARS) / hours, 4),
        "handoff_median_s": round(statistics.median(each.gap for each in world.acquired[before[3] :]), 3),
        "handoff_max_s": round(max(each.gap for each in world.acquired[before[3] :]), 3),
    }


def holding(lease_seconds: float = 180.0) -> dict[str, Any]:
    """What one held lock costs in an hour, by heartbeats; taking and releasing it are five writes more."""
    dynamodb = 3600 / Deadlines.of(lease_seconds).heartbeat
    s3 = 3600 / Deadlines.of(lease_seconds, beats_are_objects=True).heartbeat
    return {
        "lease_s": lease_seconds,
        "dynamodb": {"requests_per_h": round(dynamodb), "dollars_per_h": round(dynamodb * WRITE_DOLLARS, 6)},
        "s3": {"requests_per_h": round(s3), "dollars_per_h": round(s3 * PUT_DOLLARS, 6)},
    }
