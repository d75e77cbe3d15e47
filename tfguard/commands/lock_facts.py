"""
What is known of a lock, as plain facts: what `status --json` prints, and what tables and the page are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfguard.clock import SystemClock
from tfguard.lock.opened_lock import Seen, without_repetitions
from tfguard.lock.queue_record import Run, Ticket
from tfguard.lock.store import LockRecord
from tfguard.lock.verdicts import Verdict, age_seconds, in_words, judge, needs_person, silence_seconds
from tfguard.report.messages.phrases import Subject
from tfguard.run.fleet import Look

_CLOCK = SystemClock()
#: What takes the lock, and changes no state: it must not hide the last apply.
_NO_RUNS = frozenset({"doctor", "hold"})
#: Locks that a person may have to free: of these holders nobody can say that they live.
_TO_FREE = frozenset({Verdict.EXPIRED, Verdict.PLAIN, Verdict.UNREADABLE})


def facts_of(look: Look) -> dict[str, Any]:
    runs = look.queue.runs
    return {
        "label": look.label,
        "is_held": None if look.problem else bool(look.seen),
        "places": look.places,
        "locks": [_lock_facts(look.subject, each) for each in without_repetitions(look.seen)],
        "line": [_ticket_facts(place, ticket) for place, ticket in enumerate(look.queue.tickets, start=1)],
        "last_run": run_facts(last_of(runs)) if runs else None,
        "source": look.source,
        "doubt": look.doubt,
        "problem": look.problem,
        "mend": look.mend,
    }


def last_of(runs: Sequence[Run]) -> Run:
    """Return the last run that may have changed the state; where there is none, the last look or hold."""
    return next((run for run in reversed(runs) if run.holder.command not in _NO_RUNS), runs[-1])


def _ticket_facts(place: int, ticket: Ticket) -> dict[str, Any]:
    age = age_seconds(ticket.since, _CLOCK.now())
    return {
        "place": place,
        "who": ticket.holder.who,
        "command": ticket.holder.command,
        "run": ticket.holder.run,
        "link": ticket.holder.link,
        "waited_s": None if age is None else round(age, 1),
    }


def _lock_facts(subject: Subject, seen: Seen) -> dict[str, Any]:
    record, info, lease = seen.record, seen.record.info, seen.record.lease
    verdict = judge(record, _CLOCK, has_leases=seen.has_leases)
    is_left = needs_person(verdict, record, subject.takeover)
    silence = silence_seconds(record, _CLOCK)
    return {
        "id": record.id,
        "force_unlock_id": record.handle,
        "place": seen.place,
        "verdict": verdict.value,
        "says": in_words(verdict, record, _CLOCK, subject.takeover),
        "needs_person": is_left,
        "mend": _mend(subject, record, verdict),
        "who": lease.holder.who if lease else info.who if info else "",
        "command": _command(record),
        "run": lease.holder.run if lease else "",
        "link": lease.holder.link if lease else "",
        "since": info.created if info else "",
        "token": lease.token or None if lease else None,
        "heartbeat_age_s": None if silence is None or verdict is Verdict.HOLD else round(silence, 1),
        "lease_s": lease.seconds if lease else None,
        "hold_until": lease.hold_until if lease else "",
        "reason": lease.reason if lease else "",
    }


def _mend(subject: Subject, record: LockRecord, verdict: Verdict) -> str:
    """The command that frees a lock whose holder is dead, or may be: a plain Terraform's never tells."""
    if verdict is Verdict.UNREADABLE and not record.id:
        return subject.unlock_unreadable
    return subject.unlock(record.handle) if verdict in _TO_FREE else ""


def _command(record: LockRecord) -> str:
    if record.lease:
        return record.lease.holder.command
    return record.info.operation.removeprefix("OperationType").lower() if record.info else ""


def run_facts(run: Run) -> dict[str, Any]:
    return {
        "who": run.holder.who,
        "command": run.holder.command,
        "run": run.holder.run,
        "link": run.holder.link,
        "token": run.token or None,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "waited_s": run.waited_s,
        "held_s": run.held_s,
        "ended_at": run.ended_at,
        "took_over": run.took_over,
        "unlocked_by": run.unlocked_by,
        "reason": run.reason,
    }
