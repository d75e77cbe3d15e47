"""
`tfguard hold`: keep a state for maintenance, with an end time and without running anything.

Everybody else sees an ordinary lock: a plain Terraform is refused with its own message, the reason in its Info. It
ends by `tfguard unlock`, without force, or when the store's own clock is a minute past its end time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tfguard import __version__
from tfguard.backends.environ import extended_environment
from tfguard.backends.target import Target
from tfguard.ci import identity as ci_identity
from tfguard.clock import SystemClock, created
from tfguard.durations import parse_duration
from tfguard.errors import NAMED, LockBusy, TfguardError, UsageError
from tfguard.lock.acquire import Busy, Draft
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.opened_lock import OpenedLock, opened
from tfguard.lock.store import Holder
from tfguard.report.messages import operating, phrases
from tfguard.run.call import Call
from tfguard.run.fleet import Fleet
from tfguard.run.whereabouts import operated

#: The shortest and the longest hold, in seconds.
_SHORTEST, _LONGEST = 1.0, 30 * 86400.0
#: Nobody beats for a hold; a tfguard that does not know of holds would judge it by this lease.
_LEASE_MS = 180_000
_MAX_REASON = 200


def run_hold(call: Call, *, reason: str, duration: str) -> int:
    """
    Take the lock by hand, and leave it taken. Looks once: it waits for nobody.

    Raises:
        LockBusy: Somebody else has it.

        UsageError: No reason or time that can be used; or the lock would end with us, or may be another than is meant.
    """
    _hold(call, reason, _checked(reason, duration))
    return 0


def run_hold_of_all(call: Call, fleet: Fleet, *, reason: str, duration: str) -> int:
    """
    Take the locks of these pipelines by hand, one after the other; tell of each that could not be had, and go on.

    Return 0 where all are held now, else 1. Those that are held stay so.

    Raises:
        UsageError: No reason or time that can be used.
    """
    seconds, missing = _checked(reason, duration), 0
    for each in fleet.calls(call):
        try:
            with extended_environment({}):  # Each has its own.
                _hold(each, reason, seconds)
        except TfguardError as error:
            missing += 1
            call.report.fail(error, phrases.Subject(each.name, each.options.again))
    if missing:
        count = len(fleet.names)
        call.report.say("warning", "hold.partial", operating.held_in_part(count - missing, count))
    return 1 if missing else 0


def _hold(call: Call, reason: str, seconds: float) -> None:
    where = operated(call).require_certain()
    subject, target = where.subject, where.target
    if target.ends_with_process:
        raise UsageError(operating.nothing_to_hold_locally(subject), about=NAMED)
    clock = SystemClock()
    with opened(target) as lock:
        _check_free(lock, subject, clock.now())
        ends_at = (lock.date or clock.now()).replace(microsecond=0) + timedelta(seconds=seconds)
        try:
            lock_id = lock.take(_draft(target, ci_identity.identify(call.environ), reason, created(ends_at)), clock)
        except Busy as busy:
            raise LockBusy(
                operating.not_held(subject, busy.record, clock.now()), about=NAMED, record=busy.record
            ) from busy
    text = operating.held_by_hand(subject, lock_id, reason, ends_at)
    call.report.say("info", "lock.held", text, lock=subject.label, until=created(ends_at), reason=reason)


def _checked(reason: str, duration: str) -> float:
    """Return the time in seconds."""
    example = 'For example: tfguard hold --reason "moving the subnets" --for 2h'
    if not reason.strip():
        raise UsageError("hold needs a reason, for those who will wait.", example)
    if len(reason) > _MAX_REASON:
        raise UsageError(f"the reason is longer than {_MAX_REASON} characters.", example)
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise UsageError(f"--for: {error}.", example) from error
    if not _SHORTEST <= seconds <= _LONGEST:
        raise UsageError("--for takes from 1s to 720h.", example)
    return seconds


def _check_free(lock: OpenedLock, subject: phrases.Subject, now: datetime) -> None:
    """Say who holds a plain Terraform's lock too; an ended hold is left to `take`."""
    there = lock.read()
    if there and not (there[0].record.lease and there[0].record.lease.hold_until):
        record = there[0].record
        raise LockBusy(operating.not_held(subject, record, now), about=NAMED, record=record)


def _draft(target: Target, identity: ci_identity.Identity, reason: str, until: str) -> Draft:
    return Draft(
        info=LockInfo(
            id="",
            operation="hold",
            info=f"held by hand until {until}: {reason}",
            who=identity.who,
            version=f"tfguard {__version__}",
            path=target.path,
        ),
        holder=Holder(who=identity.who, command="hold", run=identity.run, link=identity.link),
        duration_ms=_LEASE_MS,
        is_changing=False,
        hold_until=until,
        reason=reason,
    )
