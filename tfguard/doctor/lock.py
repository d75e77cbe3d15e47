"""Checks of the lock: whether its store answers, for how long yet, and what former runs have left there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec
from tfguard.backends.state import find_copies, mismatch
from tfguard.backends.target import LocalSpec
from tfguard.clock import SystemClock
from tfguard.doctor.examination import StatePatient
from tfguard.doctor.permissions import copy_rights, listing_rights, lock_rights, queue_rights
from tfguard.doctor.table_and_bucket import bucket_date, region, table, versioning
from tfguard.durations import spoken_duration
from tfguard.errors import TfguardError
from tfguard.findings import Answer, failure, ok, warning
from tfguard.lock.verdicts import Verdict, age_seconds, in_words, judge
from tfguard.report.messages.states import fetching
from tfguard.run.context import cache_dir
from tfguard.terraform.binary import binary_version

#: Without a run_timeout, credentials should last this long, in seconds.
_USUAL_RUN_SECONDS = 3600.0
#: A clock this wrong, in seconds, misleads people; AWS refuses requests from five minutes.
_SKEW_SECONDS = 30.0
#: Who has waited for so long is more likely dead than patient.
_STALE_SECONDS = 6 * 3600.0


def lock_record(patient: StatePatient) -> Answer:
    """Whether the lock can be read: credentials, table or bucket, region, permission."""
    clock, seen = SystemClock(), patient.lock.read()
    where = " and ".join(patient.lock.places)
    if not seen:
        return ok(f"the lock can be read, and is free ({where})")
    verdict = judge(seen[0].record, clock, has_leases=seen[0].has_leases)
    says = f"the lock can be read, and is held ({where}): {in_words(verdict, seen[0].record, clock)}"
    if verdict in (Verdict.EXPIRED, Verdict.UNREADABLE):
        return warning(says, f"{patient.again} status")
    return ok(says)


def is_local(patient: StatePatient) -> bool:
    return all(isinstance(spec, LocalSpec) for spec in patient.target.stores)


def credentials(patient: StatePatient) -> Answer | None:
    """Whether the credentials outlast a run."""
    expires_at = patient.lock.credentials_expire_at()
    if expires_at is None:
        return None if is_local(patient) else ok("the credentials at hand name no end")
    left = (expires_at - datetime.now(timezone.utc)).total_seconds()
    needed = patient.context.settings.terms.run_timeout_seconds or _USUAL_RUN_SECONDS
    says = f"the credentials last for another {spoken_duration(left)}"
    return (
        ok(says)
        if left >= needed
        else warning(says, f"A run may take {spoken_duration(needed)}: let them last longer.")
    )


def clock(patient: StatePatient) -> Answer | None:
    """Our clock against the server's. No lock depends on it; requests and people do."""
    date = patient.lock.date or bucket_date(patient)
    if date is None:
        return None
    skew = abs((datetime.now(timezone.utc) - date).total_seconds())
    if skew > _SKEW_SECONDS:
        return warning(f"this machine's clock is {spoken_duration(skew)} off the server's", "Set it.")
    return ok("this machine's clock agrees with the server's")


def deprecated_table(patient: StatePatient) -> Answer | None:
    """`dynamodb_table` alone works, and will be removed from Terraform; OpenTofu keeps it."""
    target, context = patient.target, patient.context
    kinds = {type(spec) for spec in target.stores}
    version = binary_version(context.binary, context.environ, cache_dir(context.environ))
    if target.backend != "s3" or DynamoDBSpec not in kinds or context.binary.kind == "tofu" or _is_before(version, 11):
        return None
    if S3Spec in kinds:
        return ok("dynamodb_table and use_lockfile together: once every user has both, take dynamodb_table out")
    return warning(
        "dynamodb_table is deprecated since Terraform 1.11",
        "Add use_lockfile = true beside it everywhere, each time with init -reconfigure;"
        " when all have both, take dynamodb_table out.",
    )


def _is_before(version: str, minor: int) -> bool:
    """Whether a Terraform is older than 1.`minor`."""
    major, _, rest = version.partition(".")
    return (int(major or 0), int(rest.partition(".")[0] or 0)) < (1, minor)


def digest(patient: StatePatient) -> Answer | None:
    """Whether the state is the one whose digest is in the table: otherwise no Terraform reads it."""
    target = patient.target
    if target.state is None or not any(isinstance(spec, DynamoDBSpec) for spec in target.stores):
        return None
    found = mismatch(target)
    if found is None:
        return ok("the state and its digest agree")
    says = (
        f"the state's digest is {found.actual or 'missing'}, and the table says {found.stored}: no Terraform reads it"
    )
    mend = f"{patient.again} doctor --repair-digest" if found.actual else "Restore a version of it from the bucket."
    return failure(says, mend)


def errored_copies(patient: StatePatient) -> Answer | None:
    """States that former runs could not save, kept beside the state; the one that is noted bars later runs."""
    noted = patient.lock.history().errored
    try:
        found = find_copies(patient.target)
    except TfguardError:
        found = []
    places = sorted({*found, *filter(None, [noted])})
    if not places:
        return None
    place, others = noted or places[0], len(places) - 1
    says = f"a state that a former run could not save waits at {place}" + (f" and {others} more" if others else "")
    push = f"{fetching(place)}, then: {patient.again} state push errored.tfstate"
    return warning(says, f"{push}. If it is not needed: delete it.")


def stale_line(patient: StatePatient) -> Answer | None:
    """Waiters that nobody has taken out of the line; the next one who waits does."""
    now = SystemClock().now()
    tickets = patient.lock.history().tickets
    stale = [each for each in tickets if (age_seconds(each.since, now) or 0.0) > _STALE_SECONDS]
    if not stale:
        return None
    return warning(
        f"{len(stale)} in the line have waited for more than 6 hours", "Dead ones are left out by who waits."
    )


CHECKS: dict[str, Callable[[StatePatient], Answer | None]] = {
    "lock": lock_record,
    "permissions": lock_rights,
    "queue": queue_rights,
    "listing": listing_rights,
    "rescue": copy_rights,
    "credentials": credentials,
    "clock": clock,
    "region": region,
    "table": table,
    "versioning": versioning,
    "dynamodb_table": deprecated_table,
    "digest": digest,
    "errored copies": errored_copies,
    "line": stale_line,
}
