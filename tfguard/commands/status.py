"""
`tfguard status`: who holds the lock, whether it lives, and how the last run ended. Takes nothing, writes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfguard import colour, files
from tfguard.clock import SystemClock, parse_created, shown_instant
from tfguard.commands.lock_facts import facts_of, run_facts
from tfguard.commands.watch import watch
from tfguard.durations import spoken_duration
from tfguard.errors import NAMED, UsageError
from tfguard.lock.opened_lock import opened
from tfguard.lock.verdicts import age_seconds
from tfguard.outlet import write_answer
from tfguard.report.messages import operating
from tfguard.report.run_words import ending
from tfguard.report.table import WHAT_TO_DO, print_table
from tfguard.run.call import Call
from tfguard.run.fleet import Fleet, Look, look_around, look_at, look_at_pipelines, look_safely
from tfguard.run.whereabouts import operated
from tfguard.text import printable, valid
from tfguard.wire import printable_json

_CLOCK = SystemClock()
HEADINGS = ("LOCK", "STATE", "HOLDER", "SINCE", "VERDICT", "WAITING", "LAST RUN", WHAT_TO_DO)
#: A lock waits for a person: none of the statuses of an error, nor Terraform's own 2.
_NEEDS_PERSON = 3
#: Words at the start of what is said of a lock that have a colour on a terminal.
_HUES: dict[str, colour.Hue] = {
    "held": "yellow",
    "late": "yellow",
    "expired": "red",
    "unreadable": "red",
    "unknown": "red",
}
#: Of a lock nobody knows how it is, and of the others none waits for a person.
_NOT_KNOWN = 1


def run_status(call: Call, *, is_json: bool, is_watched: bool = False) -> int:
    """
    Print what is known of a lock, and exit 0 whatever that is. Never runs init.

    Raises:
        TfguardError: The lock cannot be found, or its store cannot be read.
    """
    where = operated(call)
    with opened(where.target) as lock:
        if is_watched:
            return watch(lambda: [facts_of(look_safely(where, lock))], _lines_of_one, HEADINGS, row, _HUES)
        facts = facts_of(look_at(where, lock))
    text = printable_json(facts) if is_json else _as_text(facts, is_coloured=colour.is_wanted(sys.stdout))
    write_answer(text)
    return 0


def run_status_of_all(call: Call, fleet: Fleet, *, is_json: bool, is_watched: bool = False) -> int:
    """
    Print what is known of the pipelines' locks. Never runs init.

    Exit 3 if one needs a person, else 1 if of one nothing is known, else 0.
    """
    return _tell(lambda: look_at_pipelines(fleet, call), is_json=is_json, is_watched=is_watched)


def write_status_page(call: Call, fleet: Fleet, place: str) -> int:
    """
    Write a page of HTML that tells of the pipelines' locks and of their last runs; exit as for all.

    Raises:
        UsageError: The file cannot be written.
    """
    _check_page(place)
    looks = look_at_pipelines(fleet, call)
    facts = [{**facts_of(each), "runs": [run_facts(run) for run in reversed(each.queue.runs)]} for each in looks]
    from tfguard.report.fleet_page import render

    try:
        files.replace(Path(place), valid(render(facts, made_at=_CLOCK.now())).encode())
    except OSError as error:
        what = f"--html {printable(place, 60)} cannot be written: {error.strerror}."
        raise UsageError(what, "Name a file in a folder that is there.", about=NAMED) from error
    call.report.say("info", "page.written", operating.page_written(place, len(facts)), file=place)
    return status_of(facts)


def _check_page(place: str) -> None:
    """What is there is replaced, also a device and a link: no `/dev/stdout`, and none that a checkout brings."""
    path = Path(place)
    is_other = path.exists() and not path.is_file() and not path.is_dir()
    if place == "-" or is_other or (path.is_symlink() and path.readlink().suffix not in (".html", ".htm")):
        what = f"--html {printable(place, 60)} is no ordinary file, and a page is one."
        raise UsageError(what, "Give it another name.", about=NAMED)


def run_status_of_backend(call: Call, *, is_json: bool, is_watched: bool = False) -> int:
    """
    Print every lock that is held in the table, or bucket, of this directory's backend, whosever it is; exit as for all.

    Raises:
        TfguardError: The lock cannot be found, or the locks beside it cannot be listed.
    """
    target = operated(call).target
    return _tell(lambda: look_around(target), is_json=is_json, is_watched=is_watched)


def _tell(look: Callable[[], list[Look]], *, is_json: bool, is_watched: bool) -> int:
    if is_watched:
        return watch(lambda: [facts_of(each) for each in look()], None, HEADINGS, row, _HUES)
    facts = [facts_of(each) for each in look()]
    if is_json:
        write_answer(printable_json(facts))
    elif facts:
        print_table(HEADINGS, list(map(row, facts)), _HUES)
    else:
        write_answer("No lock is held there.")
    return status_of(facts)


def status_of(facts: Sequence[dict[str, Any]]) -> int:
    """Return the exit status of a look at many locks."""
    if any(lock["needs_person"] for each in facts for lock in each["locks"]):
        return _NEEDS_PERSON
    # Where there is nothing to mend, the backend has a line of its own.
    return _NOT_KNOWN if any(each["problem"] and each["mend"] for each in facts) else 0


# --- for people -----------------------------------------------------------------------------------------------------


#: How far it is known that this is the lock that is meant.
_SOURCES = {"source": "source", "uncertain": "doubt"}


def _as_text(facts: dict[str, Any], *, is_coloured: bool = False) -> str:
    def coloured(text: str) -> str:
        word, colon, rest = text.partition(":")
        return colour.paint(word, _HUES[word]) + colon + rest if is_coloured and word in _HUES else text

    return "\n".join(before + coloured(value) for before, value in _lines(facts))


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"{facts['label']}: ", "held" if facts["is_held"] else "free"
    named = [(name, facts[key]) for name, key in _SOURCES.items()]
    named += [line for lock in facts["locks"] for line in _lock_lines(lock)]
    named += [("waiting", _waiter(each)) for each in facts["line"]]
    named.append(("last run", _last_run(facts["last_run"]) if facts["last_run"] else ""))
    for name, value in named:
        if value:
            yield f"  {name:<10}", value


def _lines_of_one(facts: list[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    (one,) = facts
    return [(f"{one['label']}: ", f"unknown: {printable(one['problem'], 300)}")] if one["problem"] else _lines(one)


def _waiter(ticket: dict[str, Any]) -> str:
    age = ticket["waited_s"]
    words = [
        f"{ticket['place']}. {printable(ticket['who'], 60)}",
        printable(ticket["command"], 60),
        printable(ticket["run"], 60),
        f"for {spoken_duration(age)}" if age is not None else "",
    ]
    return ", ".join(word for word in words if word)


def row(facts: dict[str, Any]) -> tuple[str, ...]:
    """One lock as a line of a table, its columns those of `HEADINGS`."""
    lock = facts["locks"][0] if facts["locks"] else None
    age = age_seconds(lock["since"], _CLOCK.now()) if lock else None
    holder = " ".join(part for part in (lock["who"], lock["command"], lock["run"]) if part) if lock else ""
    says = facts["problem"] or (lock["says"] if lock else "")
    doubt = f"uncertain: {facts['doubt']}" if facts["doubt"] else ""
    return (
        facts["label"],
        {None: "unknown", True: "held", False: "free"}[facts["is_held"]],
        holder,
        spoken_duration(age) if age is not None else "",
        "; ".join(part for part in (says, doubt) if part),
        str(len(facts["line"]) or ""),
        _last_run(facts["last_run"]) if facts["last_run"] else "",
        _what_to_do(facts["mend"], lock),
    )


def _what_to_do(mend: str, lock: dict[str, Any] | None) -> str:
    """The command that mends it comes last, whole."""
    if mend or lock is None or not lock["mend"]:
        return mend
    return str(lock["mend"]) if lock["needs_person"] else f"if it is dead: {lock['mend']}"


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
        ("mend" if lock["needs_person"] else "if dead", lock["mend"]),
    ]


def _moment(created: str) -> str:
    at, age = parse_created(created), age_seconds(created, _CLOCK.now())
    return f"{shown_instant(at)} ({spoken_duration(age)})" if at and age is not None else ""


def _last_run(run: dict[str, Any]) -> str:
    age = age_seconds(run["ended_at"], _CLOCK.now())
    words = [
        f"{printable(run['command'], 60)} by {printable(run['who'], 60)}".lstrip(),
        printable(run["run"], 60),
        ending(run),
        "" if run["unlocked_by"] else f"held it for {spoken_duration(run['held_s'])}",
        f"{spoken_duration(age)} ago" if age is not None else "",
    ]
    return ", ".join(word for word in words if word)
