"""
Who may take over a lock that somebody else's record stands in: by policy, and when a hold has ended.

Pure. That a lease has expired is judged in `lease`, by watching.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from tfguard.lock.lockinfo import parse_created
from tfguard.lock.store import LockRecord

TakeoverPolicy = Literal["always", "plan-only", "never"]
#: A hold is over when the store's own clock is so far past its end.
HOLD_GRACE = timedelta(minutes=1)


def may_take_over(policy: TakeoverPolicy, dead: LockRecord, *, is_changing: bool) -> bool:
    """Whether `policy` lets a run (that may change things, or not) take an expired lock, or a hold that has ended."""
    if dead.lease and dead.lease.hold_until:
        return True  # Nobody has died: whoever made the hold has said when it ends.
    if policy == "plan-only":
        return not is_changing or not (dead.lease and dead.lease.is_changing)
    return policy == "always"


def hold_has_ended(record: LockRecord | None, answered_at: datetime | None) -> bool:
    """
    Whether a lock held by hand is past its end, by the `Date` of the very answer that showed it.

    The one place where a wall clock is compared: the store's, never ours, and no child runs under a hold. A record
    that is no hold, an end that cannot be read and a store that tells no time have not ended.
    """
    lease = record.lease if record else None
    ends_at = parse_created(lease.hold_until) if lease else None
    return ends_at is not None and answered_at is not None and answered_at - HOLD_GRACE >= ends_at
