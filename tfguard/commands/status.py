"""
`tfguard status`: who holds the lock, whether it lives, and how the last run ended. Takes nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tfguard import messages
from tfguard.clock import SystemClock
from tfguard.commands.operated import operated_target
from tfguard.durations import spoken_duration
from tfguard.lockinfo import parse_created, printable
from tfguard.operator import OperatedLock, Seen, opened
from tfguard.options import Options
from tfguard.queue import Run
from tfguard.report import Report
from tfguard.store import LockRecord
from tfguard.verdicts import Verdict, age_seconds, in_words, judge, silence_seconds

_CLOCK = SystemClock()


def run_status(
    options: Options,
    environ: Mapping[str, str],
    report: Report,
    *,
    is_json: bool,
    name: str | None = None,
    store: str | None = None,
) -> int:
    """
    Print what is known of a lock, and exit 0 whatever that is. Never runs init.

    Raises:
        TfguardError: The lock cannot be found, or its store cannot be read.
    """
    subject, target = operated_target(options, environ, report, name=name, store=store)
    with opened(target) as lock:
        facts = _facts(subject, lock)
    text = msgspec.json.format(msgspec.json.encode(facts)).decode() if is_json else _as_text(facts)
    print(text)  # noqa: T201 - asked for
    return 0


def _facts(subject: messages.Subject, lock: OperatedLock) -> dict[str, Any]:
    seen = lock.read()
    runs = lock.history().runs
    return {
        "label": subject.label,
        "is_held": bool(seen),
        "places": lock.places,
        "locks": [_lock_facts(each) for each in seen],
        "last_run": run_facts(runs[-1]) if runs else None,
    }


def _lock_facts(seen: Seen) -> dict[str, Any]:
    record, info, lease = seen.record, seen.record.info, seen.record.lease
    verdict = judge(record, _CLOCK, has_leases=seen.has_leases)
    silence = silence_seconds(record, _CLOCK)
    return {
        "id": record.id,
        "place": seen.place,
        "verdict": verdict.value,
        "says": in_words(verdict, record, _CLOCK),
        "who": lease.holder.who if lease else info.who if info else "",
        "command": _command(record),
        "run": lease.holder.run if lease else "",
        "link": lease.holder.link if lease else "",
        "since": info.created if info else "",
        "token": lease.token or None if lease else None,
        "heartbeat_age_s": None if silence is None or verdict is Verdict.HOLD else round(silence, 1),
        "lease_s": lease.duration_ms / 1000 if lease else None,
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


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['label']}: {'held' if facts['is_held'] else 'free'}"]
    for lock in facts["locks"]:
        lines += [f"  {name:<10}{value}" for name, value in _lock_lines(lock) if value]
    if facts["last_run"]:
        lines.append(f"  {'last run':<10}{_last_run(facts['last_run'])}")
    return "\n".join(lines)


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
        f"held it for {spoken_duration(run['held_s'])}" if run["held_s"] else "",
        f"{spoken_duration(age)} ago" if age is not None else "",
    ]
    return ", ".join(word for word in words if word)


def ending(run: dict[str, Any]) -> str:
    if run["unlocked_by"]:
        why = f" ({printable(run['reason'], 60)})" if run["reason"] else ""
        return f"unlocked by {printable(run['unlocked_by'], 60)}{why}"
    status = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    return f"{printable(run['outcome'], 30)}{status}"
