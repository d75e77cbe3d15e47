"""
`tfguard status --watch`: the same look again and again, until Ctrl-C.

On a terminal the picture is renewed in place. Elsewhere a line is written for each lock that has changed: who holds it,
how it is judged, how many wait; never for what merely grows older.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tfguard import redaction
from tfguard.clock import SystemClock
from tfguard.outlet import write_answer
from tfguard.report.table import clean
from tfguard.text import printable

#: Seconds between two looks; of many locks it takes longer, so that a store is asked this often a second at most.
_PACE_SECONDS = 5.0
_LOOKS_A_SECOND = 8

Facts = list[dict[str, Any]]


def watch(
    look: Callable[[], Facts],
    as_text: Callable[[Facts], str] | None,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
) -> NoReturn:
    """
    Show what `look` finds, until Ctrl-C: KeyboardInterrupt. On a terminal as a table, or `as_text` where that is given.

    Raises what `look` does; OSError where nobody reads any more.
    """
    show = _on_terminal if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else _as_lines
    show(look, as_text, headings, row)
    raise AssertionError("it watches for ever")


def pace_seconds(locks: int) -> float:
    """Return how long to wait after a look at so many locks."""
    return max(_PACE_SECONDS, locks / _LOOKS_A_SECOND)


def _on_terminal(
    look: Callable[[], Facts],
    as_text: Callable[[Facts], str] | None,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from tfguard.report.table import for_terminal

    console, clock = Console(highlight=False), SystemClock()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            facts = look()
            if as_text is not None:
                lines = (printable(redaction.redact(line), 500) for line in as_text(facts).splitlines())
                shown: Any = Text("\n".join(lines))
            else:
                shown = for_terminal(headings, [row(each) for each in facts], console) if facts else Text("No lock.")
            foot = Text(f"{clock.now():%H:%M:%S} UTC, every {pace_seconds(len(facts)):.0f} s; Ctrl-C ends it", "dim")
            live.update(Group(shown, foot), refresh=True)
            clock.sleep(pace_seconds(len(facts)))


def _as_lines(
    look: Callable[[], Facts],
    _: Callable[[Facts], str] | None,
    __: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
) -> None:
    clock, before = SystemClock(), dict[str, tuple[Any, ...]]()
    while True:
        facts = look()
        now = {each["label"]: _essence(each) for each in facts}
        for each in facts:
            if before.get(each["label"]) != now[each["label"]]:
                cells = "  ".join(cell for cell in clean(row(each)) if cell)
                write_answer(f"{clock.now():%H:%M:%S}  {cells}", is_awaited=True)
        for gone in before.keys() - now.keys():
            write_answer(f"{clock.now():%H:%M:%S}  {printable(gone, 300)}  free", is_awaited=True)
        before = now
        clock.sleep(pace_seconds(len(facts)))


def _essence(facts: dict[str, Any]) -> tuple[Any, ...]:
    """What of a lock is news when it changes."""
    locks = [(lock["id"], lock["verdict"], lock["needs_person"]) for lock in facts["locks"]]
    last = (facts["last_run"] or {}).get("ended_at")
    return facts["is_held"], facts["problem"], locks, [each["who"] for each in facts["line"]], last
