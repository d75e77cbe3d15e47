"""What is said of saved plans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tfguard.durations import spoken_duration
from tfguard.lock.lockinfo import parse_created, printable
from tfguard.lock.queue_record import Run
from tfguard.report.messages.phrases import COLUMNS, Subject, about, fit

#: Runs that leave the state as it is.
_HARMLESS = ("plan", "hold")


def stale(subject: Subject, planned_at: datetime | None, runs: Sequence[Run], now: datetime) -> str:
    """
    Terraform has refused a saved plan whose state has moved since: who ran in between, by the lock's history.

    The times compared are of different machines' clocks. This is for people; Terraform goes by serial and lineage.
    """
    age = f", {_ago(planned_at, now)}" if planned_at else ""
    first = about(subject.label, f"plan-stale: the state has changed since this plan was made{age}. Plan again.")
    found = [run for run in reversed(runs) if _has_changed_since(run, planned_at)] if planned_at else []
    if not found:
        return fit(first, "No run of tfguard's is known since then: look for a plain Terraform." if planned_at else "")
    others = f", and {len(found) - 1} more: {subject.command} history" if len(found) > 1 else ""
    line = f"Since then: {_named(found[0], now)}{others}"
    if len(line) > COLUMNS:  # A command that was cut would be worse than none.
        line = f"Since then: {_named(found[0], now)}"
    link = printable(found[0].holder.link, 250)
    return "\n".join(part for part in (fit(first, line), f"See: {link}" if link else "") if part)


def _has_changed_since(run: Run, planned_at: datetime) -> bool:
    ended_at = parse_created(run.ended_at)
    is_changing = run.holder.command not in _HARMLESS and not run.unlocked_by
    return is_changing and ended_at is not None and ended_at >= planned_at


def _named(run: Run, now: datetime) -> str:
    words = [printable(each, 60) for each in (run.holder.command, run.holder.run)]
    ended_at = parse_created(run.ended_at)
    facts = [*words, printable(run.outcome, 20), _ago(ended_at, now) if ended_at else ""]
    return f"{printable(run.holder.who, 60)} ({', '.join(fact for fact in facts if fact)})"


def _ago(at: datetime, now: datetime) -> str:
    return f"{spoken_duration(max(0.0, (now - at).total_seconds()))} ago"
