"""
Tables for people: aligned text in a pipe, rich's on a terminal (which knows NO_COLOR and how wide it is). Where a
terminal is so narrow that words would be torn, each row becomes a few lines of its own.

Cells may hold strangers' words: what could move a cursor is taken out here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfguard import colour, redaction
from tfguard.outlet import write_answer
from tfguard.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Rows = Sequence[Sequence[str]]
#: Words, and the colour of each at the start of a cell.
Hues = Mapping[str, colour.Hue]
#: The heading of a last column of commands, which a terminal must not break in two.
WHAT_TO_DO = "WHAT TO DO"
_LONGEST_CELL = 300
_WIDEST = 10_000


def print_table(headings: Sequence[str], rows: Rows, hues: Hues | None = None) -> None:
    """
    Write a table to stdout. A last column may be of any length: it may hold commands, which are never cut or folded.

    On a terminal, a word of `hues` at the start of a cell has its colour, but for the first column's, which are names.
    """
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False, no_color=not colour.is_wanted(sys.stdout))
        console.print(for_terminal(headings, rows, console, hues))
    else:
        headings, rows = _without_empty_end(headings, rows)
        write_answer("\n".join(aligned(headings, [clean(row) for row in rows])))


def _without_empty_end(headings: Sequence[str], rows: Rows) -> tuple[Sequence[str], Rows]:
    """Leave out a last column in which nothing stands."""
    if headings[-1] != WHAT_TO_DO or any(row[-1] for row in rows):
        return headings, rows
    return headings[:-1], [row[:-1] for row in rows]


def clean(row: Sequence[str]) -> list[str]:
    """Return a row with nothing in it that moves a cursor, and no secret; all but its last cell are bounded."""
    *cells, last = [redaction.redact(cell) for cell in row]
    return [*(printable(cell, _LONGEST_CELL) for cell in cells), printable(last, _WIDEST)]


def aligned(headings: Sequence[str], rows: Rows) -> list[str]:
    """Return the lines of a plain table, two blanks between columns, none at the end of a line."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def for_terminal(headings: Sequence[str], rows: Rows, console: Console, hues: Hues | None = None) -> Table | Text:
    """Return the table as this terminal has room for it."""
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    headings, rows = _without_empty_end(headings, rows)
    shown = [clean(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == WHAT_TO_DO)
    for row in shown:
        first, *others = row
        table.add_row(Text(first), *(Text.assemble(*parts(cell, hues or {})) for cell in others))
    # Every column as wide as its longest word; a measurement is never wider than what it is told there is.
    needed = Measurement.get(console, console.options.update(width=_WIDEST), table).minimum
    return table if needed <= console.width else _one_below_the_other(headings, shown)


def parts(cell: str, hues: Hues) -> list[tuple[str, str]]:
    """Take a cell apart into text and style: `expired`, and what follows."""
    word, colon, rest = cell.partition(":")
    return [(word, hues[word]), (colon + rest, "")] if word in hues else [(cell, "")]


def _one_below_the_other(headings: Sequence[str], rows: Rows) -> Text:
    """Write `LOCK  prod/network` and so on for every row, leaving out what is empty."""
    from rich.text import Text

    width = max(map(len, headings))
    found = Text(overflow="fold")
    for number, row in enumerate(rows):
        found.append("\n" if number else "")
        for heading, cell in zip(headings, row):
            if cell:
                found.append(f"{heading:<{width}}  ", "bold").append(f"{cell}\n")
    found.rstrip()
    return found
