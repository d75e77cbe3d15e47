"""
`tfguard unlock`: end somebody's hold on a lock.
"""

from __future__ import annotations

from tfguard.ci import identity
from tfguard.errors import NAMED, UsageError
from tfguard.lock.opened_lock import opened
from tfguard.report.messages import operating
from tfguard.run.call import Call
from tfguard.run.unlocking import Decision, Unlocking
from tfguard.run.whereabouts import operated


def run_unlock(call: Call, decision: Decision) -> int:
    """
    Unlock; return 0 where the lock is free afterwards, 1 where the operator said no.

    Raises:
        LockBusy: Its holder is alive, or the lock is not what was shown or named.

        UsageError: Nobody can be asked, and not enough was said; or the lock is local; or it is not certain which lock
            is meant, and no ID says it.
    """
    where = operated(call)
    if not decision.lock_id:
        where.require_certain()
    subject, target = where.subject, where.target
    if subject.is_local:
        raise UsageError(operating.nothing_to_unlock_locally(subject), about=NAMED)
    with opened(target) as lock:
        return Unlocking(lock, subject, call.report, decision, identity.identify(call.environ).who).run()
