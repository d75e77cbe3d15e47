"""
`tfguard status --watch`: the same look again and again, until Ctrl-C.

On a terminal the picture is renewed in place. Elsewhere a line is written for each lock that has changed: who holds it,
how it is judged, how many wait; never for what merely grows older.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tfguard import colour, redaction
from tfguard.clock import SystemClock
from tfguard.outlet import write_answer
from tfguard.report.table import Hues, clean
from tfguard.text import printable

if TYPE_CHECKING:
    from rich.text import Text

#: Seconds between two looks; of many locks it takes longer, so that a store is asked this often a second at most.
_PACE_SECONDS = 5.0
_LOOKS_A_SECOND = 8

Facts = list[dict[str, Any]]
#: Lines, each as what stands before its value, and the value.
Lines = Iterable[tuple[str, str]]


def watch(
    look: Callable[[], Facts],
    as_lines: Callable[[Facts], Lines] | None,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
    hues: Hues,
) -> NoReturn:
    """
    Show what `look` finds, until Ctrl-C: KeyboardInterrupt. On a terminal as a table, or `as_lines` where that is
    given; with the colours that `hues` has for words, as `print_table`.

    Raises what `look` does; OSError where nobody reads any more.
    """
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        _on_terminal(look, as_lines, headings, row, hues)
    else:
        _as_changes(look, row)
    raise AssertionError("it watches for ever")


def pace_seconds(locks: int) -> float:
    """Return how long to wait after a look at so many locks."""
    return max(_PACE_SECONDS, locks / _LOOKS_A_SECOND)


def _on_terminal(
    look: Callable[[], Facts],
    as_lines: Callable[[Facts], Lines] | None,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str]],
    hues: Hues,
) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from tfguard.report.table import for_terminal

    clock, console = SystemClock(), Console(highlight=False, no_color=not colour.is_wanted(sys.stdout))
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            facts = look()
            if as_lines is not None:
                shown: Any = Text("\n").join(_painted(*line, hues) for line in as_lines(facts))
            elif facts:
                shown = for_terminal(headings, [row(each) for each in facts], console, hues)
            else:
                shown = Text("No lock.")
            foot = Text(f"{clock.now():%H:%M:%S} UTC, every {pace_seconds(len(facts)):.0f} s; Ctrl-C ends it", "dim")
            live.update(Group(shown, foot), refresh=True)
            clock.sleep(pace_seconds(len(facts)))


def _painted(before: str, value: str, hues: Hues) -> Text:
    from rich.text import Text

    from tfguard.report.table import parts

    before, value = (printable(redaction.redact(each), 500) for each in (before, value))
    return Text.assemble(before, *parts(value, hues))


def _as_changes(look: Callable[[], Facts], row: Callable[[dict[str, Any]], Sequence[str]]) -> None:
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
