"""Checks of the store: its answers, our permissions, its clock, and what former runs have left there."""

from __future__ import annotations

from datetime import datetime, timezone

from tfguard.checks import Answer, Check, Patient, failure, ok, warning
from tfguard.clock import SystemClock
from tfguard.durations import spoken_duration
from tfguard.errors import ActionDenied, TfguardError
from tfguard.operator import OperatedLock
from tfguard.store import DynamoDBSpec, LocalSpec, S3Spec, Target
from tfguard.stores.state import mismatch
from tfguard.verdicts import Verdict, age_seconds, in_words, judge

#: Without a run_timeout, credentials should last this long, in seconds.
_USUAL_RUN_SECONDS = 3600.0
#: A clock this wrong, in seconds, misleads people; AWS refuses requests from five minutes.
_SKEW_SECONDS = 30.0
#: Who has waited for so long is more likely dead than patient.
_STALE_SECONDS = 6 * 3600.0


def _lock(patient: Patient) -> OperatedLock:
    assert patient.lock is not None
    return patient.lock


def _target(patient: Patient) -> Target:
    assert patient.target is not None
    return patient.target


def lock_record(patient: Patient) -> Answer:
    """Whether the lock can be read: credentials, table or bucket, region, permission."""
    lock, clock = _lock(patient), SystemClock()
    seen = lock.read()
    where = " and ".join(lock.places)
    if not seen:
        return ok(f"the lock can be read, and is free ({where})")
    verdict = judge(seen[0].record, clock, has_leases=seen[0].has_leases)
    says = f"the lock can be read, and is held ({where}): {in_words(verdict, seen[0].record, clock)}"
    if verdict in (Verdict.EXPIRED, Verdict.UNREADABLE):
        return warning(says, f"{patient.context.options.again} status")
    return ok(says)


def writing(patient: Patient) -> Answer | None:
    """Whether records can be created, replaced and deleted: tried on a scratch record beside the lock."""
    if all(isinstance(spec, LocalSpec) for spec in _target(patient).stores):
        return None
    _lock(patient).try_writing()
    return ok("lock records can be created, replaced and deleted (tried on a scratch record)")


def history(patient: Patient) -> Answer:
    """Whether the queue record can be read. It is advisory, so its absence is no failure."""
    try:
        _lock(patient).read_history()
    except ActionDenied as error:
        return warning(str(error).splitlines()[0], "Without it there is no line, no fencing token and no history.")
    return ok("the queue record can be read")


def credentials(patient: Patient) -> Answer | None:
    """Whether the credentials outlast a run."""
    expires_at = _lock(patient).credentials_expire_at()
    if expires_at is None:
        return None
    left = (expires_at - datetime.now(timezone.utc)).total_seconds()
    needed = patient.context.settings.run_timeout_seconds or _USUAL_RUN_SECONDS
    says = f"the credentials last for another {spoken_duration(left)}"
    return (
        ok(says)
        if left >= needed
        else warning(says, f"A run may take {spoken_duration(needed)}: let them last longer.")
    )


def clock(patient: Patient) -> Answer | None:
    """Our clock against the server's. No lock depends on it; requests and people do."""
    date = _lock(patient).date
    if date is None:
        return None
    skew = abs((datetime.now(timezone.utc) - date).total_seconds())
    if skew > _SKEW_SECONDS:
        return warning(f"this machine's clock is {spoken_duration(skew)} off the server's", "Set it.")
    return ok("this machine's clock agrees with the server's")


def deprecated_table(patient: Patient) -> Answer | None:
    """`dynamodb_table` alone works, and will be removed from Terraform."""
    target = _target(patient)
    kinds = {type(spec) for spec in target.stores}
    if target.backend != "s3" or DynamoDBSpec not in kinds:
        return None
    if S3Spec in kinds:
        return ok("dynamodb_table and use_lockfile together: once every user has both, take dynamodb_table out")
    return warning(
        "dynamodb_table is deprecated since Terraform 1.11",
        "Add use_lockfile = true beside it everywhere; when all have both, take dynamodb_table out.",
    )


def digest(patient: Patient) -> Answer | None:
    """Whether the state is the one whose digest is in the table: otherwise no Terraform reads it."""
    target = _target(patient)
    if target.state is None or not any(isinstance(spec, DynamoDBSpec) for spec in target.stores):
        return None
    found = mismatch(target)
    if found is None:
        return ok("the state and its digest agree")
    says = (
        f"the state's digest is {found.actual or 'missing'}, and the table says {found.stored}: no Terraform reads it"
    )
    return failure(says, f"{patient.context.options.again} doctor --repair-digest")


def errored_copy(patient: Patient) -> Answer | None:
    """A state that a former run could not save, kept beside the state."""
    place = _lock(patient).history().errored
    if not place:
        return None
    return warning(f"a former run's unsaved state waits at {place}", "Push it, or decide that it is not needed.")


def stale_line(patient: Patient) -> Answer | None:
    """Waiters that nobody has taken out of the line; the next one who waits does."""
    now = SystemClock().now()
    tickets = _lock(patient).history().tickets
    stale = [each for each in tickets if (age_seconds(each.since, now) or 0.0) > _STALE_SECONDS]
    if not stale:
        return None
    return warning(
        f"{len(stale)} in the line have waited for more than 6 hours", "Dead ones are left out by who waits."
    )


def versioning(patient: Patient) -> Answer | None:
    """Whether an overwritten state can be had back."""
    state = _target(patient).state
    if state is None:
        return None
    from tfguard.stores.listing import is_versioned

    try:
        is_on = is_versioned(state)
    except TfguardError as error:
        return warning("nobody may tell us if the bucket keeps old versions", str(error).splitlines()[0])
    if is_on:
        return ok(f"bucket {state.bucket} keeps old versions")
    return warning(f"bucket {state.bucket} keeps no old versions of the state", "Turn its versioning on.")


CHECKS: dict[str, Check] = {
    "lock": lock_record,
    "writing": writing,
    "history": history,
    "credentials": credentials,
    "clock": clock,
    "dynamodb_table": deprecated_table,
    "digest": digest,
    "errored copy": errored_copy,
    "line": stale_line,
    "versioning": versioning,
}
