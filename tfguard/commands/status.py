"""
`tfguard status`: who holds the lock, whether it lives, and how the last run ended. Takes nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfguard.clock import SystemClock, parse_created
from tfguard.config.file import find_config, load
from tfguard.durations import spoken_duration
from tfguard.errors import ConfigError
from tfguard.lock.opened_lock import Seen, opened, without_repetitions
from tfguard.lock.queue_record import Run, Ticket
from tfguard.lock.store import LockRecord
from tfguard.lock.verdicts import Verdict, age_seconds, in_words, judge, needs_person, silence_seconds
from tfguard.outlet import write_answer
from tfguard.report.messages.phrases import Subject
from tfguard.report.table import print_table
from tfguard.run.call import Call
from tfguard.run.fleet import Look, look_around, look_at, look_at_pipelines
from tfguard.run.whereabouts import operated
from tfguard.text import printable
from tfguard.wire import printable_json

_CLOCK = SystemClock()
#: A lock waits for a person: none of the statuses of an error, nor Terraform's own 2.
_NEEDS_PERSON = 3
#: Of a lock nobody knows how it is, and of the others none waits for a person.
_NOT_KNOWN = 1
#: What takes the lock, and changes no state: it must not hide the last apply.
_NO_RUNS = frozenset({"doctor", "hold"})


def run_status(call: Call, *, is_json: bool) -> int:
    """
    Print what is known of a lock, and exit 0 whatever that is. Never runs init.

    Raises:
        TfguardError: The lock cannot be found, or its store cannot be read.
    """
    where = operated(call)
    with opened(where.target) as lock:
        facts = _facts(look_at(where, lock))
    text = printable_json(facts) if is_json else _as_text(facts)
    write_answer(text)
    return 0


def run_status_of_all(call: Call, *, is_json: bool) -> int:
    """
    Print what is known of every pipeline's lock. Never runs init.

    Exit 3 if one needs a person, else 1 if of one nothing is known, else 0.

    Raises:
        ConfigError: There is no tfguard.yml, or it is wrong.
    """
    options, environ = call.options, call.environ
    path = find_config(Path.cwd() / (options.chdir or ""), options.config, environ)
    if path is None:
        raise ConfigError(
            "there is no tfguard.yml here or above, so there are no pipelines.\nShow this directory's: tfguard status"
        )
    return _print_all(look_at_pipelines(load(path, environ), options, environ, call.report), is_json=is_json)


def run_status_of_backend(call: Call, *, is_json: bool) -> int:
    """
    Print every lock that is held in the table, or bucket, of this directory's backend, whosever it is; exit as for all.

    Raises:
        TfguardError: The lock cannot be found, or the locks beside it cannot be listed.
    """
    return _print_all(look_around(operated(call).target), is_json=is_json)


def _print_all(looks: list[Look], *, is_json: bool) -> int:
    facts = [_facts(look) for look in looks]
    if is_json:
        write_answer(printable_json(facts))
    elif facts:
        print_table(("LOCK", "STATE", "HOLDER", "SINCE", "VERDICT", "WAITING", "LAST RUN"), list(map(_row, facts)))
    else:
        write_answer("No lock is held there.")
    if any(lock["needs_person"] for each in facts for lock in each["locks"]):
        return _NEEDS_PERSON
    return _NOT_KNOWN if any(each["problem"] for each in facts) else 0


def _facts(look: Look) -> dict[str, Any]:
    runs = look.queue.runs
    return {
        "label": look.label,
        "is_held": None if look.problem else bool(look.seen),
        "places": look.places,
        "locks": [_lock_facts(look.subject, each) for each in without_repetitions(look.seen)],
        "line": [_ticket_facts(place, ticket) for place, ticket in enumerate(look.queue.tickets, start=1)],
        "last_run": run_facts(_last_of(runs)) if runs else None,
        "source": look.source,
        "doubt": look.doubt,
        "problem": look.problem,
        "mend": look.mend,
    }


def _last_of(runs: Sequence[Run]) -> Run:
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
        "mend": subject.unlock(record.handle) if is_left else "",
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


# --- for people -----------------------------------------------------------------------------------------------------


#: How far it is known that this is the lock that is meant.
_SOURCES = {"source": "source", "uncertain": "doubt"}


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['label']}: {'held' if facts['is_held'] else 'free'}"]
    lines += [f"  {name:<10}{facts[key]}" for name, key in _SOURCES.items() if facts[key]]
    for lock in facts["locks"]:
        lines += [f"  {name:<10}{value}" for name, value in _lock_lines(lock) if value]
    lines += [f"  {'waiting':<10}{_waiter(each)}" for each in facts["line"]]
    if facts["last_run"]:
        lines.append(f"  {'last run':<10}{_last_run(facts['last_run'])}")
    return "\n".join(lines)


def _waiter(ticket: dict[str, Any]) -> str:
    age = ticket["waited_s"]
    words = [
        f"{ticket['place']}. {printable(ticket['who'], 60)}",
        printable(ticket["command"], 60),
        printable(ticket["run"], 60),
        f"for {spoken_duration(age)}" if age is not None else "",
    ]
    return ", ".join(word for word in words if word)


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    lock = facts["locks"][0] if facts["locks"] else None
    age = age_seconds(lock["since"], _CLOCK.now()) if lock else None
    holder = " ".join(part for part in (lock["who"], lock["command"], lock["run"]) if part) if lock else ""
    return (
        facts["label"],
        {None: "unknown", True: "held", False: "free"}[facts["is_held"]],
        holder,
        spoken_duration(age) if age is not None else "",
        _with_mend(facts["problem"], facts["mend"]) or (_with_mend(lock["says"], lock["mend"]) if lock else ""),
        str(len(facts["line"]) or ""),
        _last_run(facts["last_run"]) if facts["last_run"] else "",
    )


def _with_mend(says: str, mend: str) -> str:
    return f"{says}: {mend}" if says and mend else says


def _lock_lines(lock: dict[str, Any]) -> list[tuple[str, str]]:
    age = lock["heartbeat_age_s"]
    run = " ".join(part for part in (printable(lock["run"], 60), printable(lock["link"], 200)) if part)
    return [
        ("lock", f"{printable(lock['id'], 60)} in {lock['place']}".strip()),
        ("holder", printable(lock["who"], 80)),
        ("command", printable(lock["command"], 80)),
        ("run", run),
        ("since", _moment(lock["since"])),
        ("token", str(lock["token"] or "")),
        ("heartbeat", "" if age is None else f"{spoken_duration(age)} ago"),
        ("verdict", lock["says"]),
        ("mend", lock["mend"]),
    ]


def _moment(created: str) -> str:
    at, age = parse_created(created), age_seconds(created, _CLOCK.now())
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({spoken_duration(age)})" if at and age is not None else ""


def _last_run(run: dict[str, Any]) -> str:
    age = age_seconds(run["ended_at"], _CLOCK.now())
    words = [
        f"{printable(run['command'], 60)} by {printable(run['who'], 60)}",
        printable(run["run"], 60),
        ending(run),
        "" if run["unlocked_by"] else f"held it for {spoken_duration(run['held_s'])}",
        f"{spoken_duration(age)} ago" if age is not None else "",
    ]
    return ", ".join(word for word in words if word)


def ending(run: dict[str, Any]) -> str:
    if run["unlocked_by"]:
        why = f" ({printable(run['reason'], 60)})" if run["reason"] else ""
        return f"unlocked by {printable(run['unlocked_by'], 60)}{why}"
    status = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    return f"{printable(run['outcome'], 30)}{status}"
