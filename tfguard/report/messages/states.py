"""What is said of a state that Terraform could not save, and of one that does not match its digest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from tfguard.backends.urls import fetch_command
from tfguard.clock import parse_created
from tfguard.durations import spoken_duration
from tfguard.lock.queue_record import Run
from tfguard.report.messages.phrases import COLUMNS, Subject, about, do, fit, shortened
from tfguard.terraform.commands import may_change
from tfguard.text import printable

_PUSH = "state push errored.tfstate"
#: Less of a path tells nothing.
_SHORTEST_PATH = 30


def pushed(subject: Subject, path: str) -> str:
    text = "Terraform could not save its state; it has been pushed now, under the same lock."
    return fit(about(subject.label, text), f"The file is kept as {os.path.basename(path)}.")


def kept(subject: Subject, place: str, error: str) -> str:
    """Neither Terraform nor we could save it; a copy is beside the state."""
    first = printable(error.partition("\n")[0].rstrip("."), 60)
    return fit(
        about(subject.label, f"Terraform could not save its state, nor could it be pushed: {first}."),
        f"A copy is kept: {place}",
        do("To finish the job", f"{subject.command} {_PUSH}"),
    )


def left(subject: Subject, path: str, error: str) -> str:
    """Nothing but the file is left of it."""
    first = printable(error.partition("\n")[0].rstrip("."), 60)
    return fit(
        about(subject.label, f"Terraform could not save its state, and no copy could be kept: {first}."),
        f"Save this file: {path}",
        do("To finish the job", f"{subject.command} {_PUSH}"),
    )


def kept_after_loss(subject: Subject, path: str) -> str:
    return fit(
        about(subject.label, "Terraform could not save its state; the lock was lost, so it was not pushed."),
        f"It is kept: {path}",
        do("Compare it with what is there now", f"{subject.command} plan"),
    )


def is_here(subject: Subject, path: str) -> str:
    """A former run's errored state lies in the directory: exit 78."""
    override = f"To run all the same: {subject.command} --ignore-errored-state …"
    room = max(_SHORTEST_PATH, COLUMNS - len(override) - len("  (the file: )"))
    return fit(
        about(subject.label, "errored.tfstate is here: a former run could not save its state, and this may undo it."),
        do("To save it", f"{subject.command} {_PUSH}"),
        f"{override}  (the file: {shortened(path, room)})",
    )


def fetching(place: str) -> str:
    """The command that fetches a copy from beside the state."""
    command = fetch_command(place)
    if "{" in command:
        url = urlsplit(place)
        path = url.path.lstrip("/")
        first, _, rest = path.partition("/")
        parts = {"place": place, "host": url.netloc, "first": first, "rest": rest}
        quoted = {name: shlex.quote(part) for name, part in parts.items()}
        return f"{command.format(shlex.quote(path), **quoted)} errored.tfstate"
    return f"{command} {shlex.quote(place)} errored.tfstate"


def is_pending(subject: Subject, place: str) -> str:
    """A copy of a former run's errored state waits beside the state: exit 78."""
    return about(
        subject.label,
        "a former run could not save its state; running now may undo what it did.\n"
        f"{do('To fetch it', fetching(place))}\n"
        f"{do('Then', f'{subject.command} {_PUSH}')}  (or, to run all the same: --ignore-errored-state)",
    )


def digest_differs(subject: Subject, *, table: str, stored: str, actual: str) -> str:
    """The state and its digest do not agree: Terraform will refuse the state."""
    return fit(
        about(subject.label, "the state does not match its digest; Terraform will fail after 10 s of trying."),
        f"The state's MD5 is {actual or 'none: it is missing'}; table {printable(table, 30)} says {stored}.",
        do("If that state is the right one", f"{subject.command} doctor --repair-digest")
        if actual
        else "Restore a version of it from the bucket.",
    )


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
    is_changing = run.holder.command != "hold" and may_change(run.holder.command) and not run.unlocked_by
    return is_changing and ended_at is not None and ended_at >= planned_at


def _named(run: Run, now: datetime) -> str:
    words = [printable(each, 60) for each in (run.holder.command, run.holder.run)]
    ended_at = parse_created(run.ended_at)
    facts = [*words, printable(run.outcome, 20), _ago(ended_at, now) if ended_at else ""]
    return f"{printable(run.holder.who, 60)} ({', '.join(fact for fact in facts if fact)})"


def _ago(at: datetime, now: datetime) -> str:
    return f"{spoken_duration(max(0.0, (now - at).total_seconds()))} ago"
