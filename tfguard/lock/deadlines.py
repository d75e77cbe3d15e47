"""
When to beat, warn, interrupt, freeze and take over: everything follows from the lease `T`.

The holder must have stopped writing (frozen, at 3T/5) well before anyone may take over (T): the ratio of 5/3 holds
as long as no two clocks differ in rate by more than a quarter. All instants are seconds of boottime; silence is
counted from just *before* the last landed heartbeat was sent.

Not promised: a machine paused by its hypervisor sees no time pass, so none of these fires there.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

import msgspec

from tfguard.durations import parse_duration

#: No lease is shorter or longer, in seconds, whoever wrote it: a shorter one loses runs to a slow network, a longer one
#: keeps the lock of a dead run for as long.
SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS = 30.0, 3600.0

#: What an operator may lower the shortest lease to: three beats missed are a second then.
_LOWEST_SECONDS = 5.0

#: Whoever enforces a deadline looks at the clock at least this often, in seconds.
TICK_SECONDS = 0.25
#: How long after a failed heartbeat the next is tried, in seconds, ± `JITTER`.
RETRY_SECONDS = 1.0
JITTER = 0.1


def shortest_lease_seconds(environ: Mapping[str, str]) -> float:
    """
    Return the shortest lease that is taken, in seconds.

    `TFGUARD_SHORTEST_LEASE` says less where everybody who takes that lock is on machines of one's own, as in a
    demonstration: from 5 s. Whoever is not told so keeps a shorter lease for half a minute, which loses nothing.
    """
    # For our own tests only, which cannot wait half a minute for every takeover.
    if environ.get("TFGUARD_TEST_SHORT_LEASE") == "1":
        return 0.5
    try:
        seconds = parse_duration(environ.get("TFGUARD_SHORTEST_LEASE") or "30s")
    except ValueError:
        return SHORTEST_LEASE_SECONDS
    return min(max(seconds, _LOWEST_SECONDS), SHORTEST_LEASE_SECONDS)


def bounded_lease_seconds(seconds: float) -> float:
    """Return a lease that a stranger's record names, kept within what one may be."""
    return min(max(seconds, shortest_lease_seconds(os.environ)), LONGEST_LEASE_SECONDS)


class Deadlines(msgspec.Struct, frozen=True):
    """
    The deadlines of one lease, in seconds of silence.

    | what         | formula | why                                                            |
    |--------------|---------|----------------------------------------------------------------|
    | heartbeat    | T/18    | also how soon a force-unlock is noticed; T/12 where every beat |
    |              |         | is an object written to S3                                     |
    | warning      | T/6     | three beats missed                                             |
    | interrupt    | T/3     | Terraform needs time to stop and to write its state            |
    | freeze       | 3T/5    | a frozen Terraform cannot write: `safe_until`                  |
    | takeover     | T       | counted by the waiter, on its own clock                        |
    """

    heartbeat: float
    warning: float
    interrupt: float
    freeze: float
    takeover: float

    @classmethod
    def of(cls, lease_seconds: float, *, beats_are_objects: bool = False) -> Deadlines:
        """Derive all from the lease, in seconds."""
        return cls(
            heartbeat=lease_seconds / (12 if beats_are_objects else 18),
            warning=lease_seconds / 6,
            interrupt=lease_seconds / 3,
            freeze=lease_seconds * 3 / 5,
            takeover=lease_seconds,
        )


def jittered(seconds: float, share: float = JITTER) -> float:
    """Spread a pause by ± `share`, so that many processes do not move in step."""
    return seconds * random.uniform(1 - share, 1 + share)
