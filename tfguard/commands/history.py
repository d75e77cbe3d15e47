"""
`tfguard history`: the last runs of a state, the newest first. Takes nothing, writes nothing.
"""

from __future__ import annotations

from typing import Any

from tfguard.clock import SystemClock, parse_created
from tfguard.commands.lock_facts import run_facts
from tfguard.durations import spoken_duration
from tfguard.lock.opened_lock import opened
from tfguard.lock.verdicts import age_seconds
from tfguard.outlet import write_answer
from tfguard.report.messages import operating
from tfguard.report.messages.phrases import Subject
from tfguard.report.run_words import ending
from tfguard.report.table import WHAT_TO_DO, print_table
from tfguard.run.call import Call
from tfguard.run.fleet import Fleet, Look, look_at_pipelines
from tfguard.run.whereabouts import operated
from tfguard.text import printable
from tfguard.wire import printable_json

_HEADINGS = ("ENDED (UTC)", "AGO", "TOKEN", "COMMAND", "WHO", "WAITED", "HELD", "OUTCOME", "RUN")


def run_history(call: Call, *, is_json: bool) -> int:
    """
    Print the runs that the queue record remembers, at most twenty; exit 0 also where there is none.

    Raises:
        TfguardError: The lock cannot be found, or its history cannot be read.
    """
    where = operated(call)
    with opened(where.target) as lock:
        runs = [run_facts(run) for run in reversed(lock.read_history().runs)]
    if is_json:
        facts = {"label": where.subject.label, "runs": runs, "doubt": where.doubt}
        write_answer(printable_json(facts))
        return 0
    _tell_doubt(call, where.subject, where.doubt)
    if runs:
        print_table(_HEADINGS, [_row(run) for run in runs])
    else:
        write_answer(f"{printable(where.subject.label, 80)}: no run is known.")
    return 0


def run_history_of_all(call: Call, fleet: Fleet, *, is_json: bool) -> int:
    """
    Print the runs of these pipelines' locks, the newest first whosever they are; exit 1 if of a lock nothing is known.
    """
    looks = look_at_pipelines(fleet, call)
    if is_json:
        write_answer(printable_json([_facts(look) for look in looks]))
        return int(any(look.problem for look in looks))
    for look in looks:
        _tell_doubt(call, look.subject, look.doubt)
    runs = [(look.label, run_facts(run)) for look in looks for run in look.queue.runs]
    runs.sort(key=lambda each: each[1]["ended_at"], reverse=True)
    rows = [(label, *_row(run), "") for label, run in runs]
    unknown = [look for look in looks if look.problem]
    rows += [(look.label, *("" for _ in _HEADINGS[:-2]), f"unknown: {look.problem}", "", look.mend) for look in unknown]
    if rows:
        print_table(("LOCK", *_HEADINGS, WHAT_TO_DO), rows)
    else:
        write_answer("No run is known.")
    return int(bool(unknown))


def _facts(look: Look) -> dict[str, Any]:
    runs = [run_facts(run) for run in reversed(look.queue.runs)]
    return {"label": look.label, "runs": runs, "doubt": look.doubt, "problem": look.problem, "mend": look.mend}


def _tell_doubt(call: Call, subject: Subject, doubt: str) -> None:
    if doubt:
        call.report.say("warning", "lock.uncertain", operating.is_doubtful(subject, doubt), label=subject.label)


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    at, age = parse_created(run["ended_at"]), age_seconds(run["ended_at"], SystemClock().now())
    took_over = f", took over {run['took_over']}" if run["took_over"] else ""
    return (
        f"{at:%Y-%m-%d %H:%M:%S}" if at else "",
        spoken_duration(age) if age is not None else "",
        str(run["token"] or ""),
        run["command"],
        run["who"],
        # Of a run that an unlock has ended nobody knows them.
        "" if run["unlocked_by"] else spoken_duration(run["waited_s"]),
        "" if run["unlocked_by"] else spoken_duration(run["held_s"]),
        ending(run) + took_over,
        " ".join(part for part in (run["run"], run["link"]) if part),
    )
