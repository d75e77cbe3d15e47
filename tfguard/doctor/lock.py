"""Checks of the lock: whether its store answers, for how long yet, and what former runs have left there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from tfguard.backends import backend_of, backends_beside
from tfguard.backends.checks import Check
from tfguard.backends.state import find_copies
from tfguard.clock import SystemClock
from tfguard.doctor.examination import StatePatient
from tfguard.durations import spoken_duration
from tfguard.errors import TfguardError
from tfguard.findings import Answer, ok, warning
from tfguard.lock.verdicts import Verdict, age_seconds, in_words, judge
from tfguard.report.messages.states import fetching

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
    policy = patient.context.settings.terms.takeover
    says = f"the lock can be read, and is held ({where}): {in_words(verdict, seen[0].record, clock, policy)}"
    if verdict in (Verdict.EXPIRED, Verdict.UNREADABLE):
        return warning(says, f"{patient.again} status")
    return ok(says)


def credentials(patient: StatePatient) -> Answer | None:
    """Whether the credentials outlast a run."""
    expires_at = patient.lock.credentials_expire_at()
    if expires_at is None:
        return None if patient.target.is_local else ok("these credentials do not say when they expire")
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
    date = patient.lock.date or _server_date(patient)
    if date is None:
        return None
    skew = abs((datetime.now(timezone.utc) - date).total_seconds())
    if skew > _SKEW_SECONDS:
        return warning(f"this machine's clock is {spoken_duration(skew)} off the server's", "Synchronise it (NTP).")
    return ok("this machine's clock agrees with the server's")


def _server_date(patient: StatePatient) -> datetime | None:
    state = patient.target.state
    if state is None:
        return None
    try:
        return state.server_date()
    except TfguardError:
        return None


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
        f"{len(stale)} in the line have waited for more than 6 hours", "The next run that waits removes dead entries."
    )


def checks_of(patient: StatePatient) -> Mapping[str, Check | Callable[[StatePatient], Answer | None]]:
    """
    Return the checks of this lock, in their order: those of every lock, and those that its backend adds.

    Where its lease lies in a store of the user's, the checks of that are added too, as those of the `store`.
    """
    added = backend_of(patient.target).checks()
    beside = [backend.checks() for backend in backends_beside(patient.target)]
    return {
        **added.before,
        **{_of_store(name): check for each in beside for name, check in each.before.items()},
        "lock": lock_record,
        **added.rights,
        **{_of_store(name): check for each in beside for name, check in each.rights.items()},
        "credentials": credentials,
        "clock": clock,
        **added.places,
        **{_of_store(name): check for each in beside for name, check in each.places.items()},
        "errored copies": errored_copies,
        "line": stale_line,
    }


def _of_store(check: str) -> str:
    return "store" if check == "permissions" else f"store {check}"
