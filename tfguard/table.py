"""
Tables for people: aligned text in a pipe, rich's on a terminal (which knows NO_COLOR and how wide it is).

Cells may hold strangers' words: what could move a cursor is taken out here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfguard import log
from tfguard.lockinfo import printable

Rows = Sequence[Sequence[str]]
_LONGEST_CELL = 300


def print_table(headings: Sequence[str], rows: Rows) -> None:
    """Write a table to stdout. A last column may be of any length; in a pipe no cell is cut below 300 characters."""
    clean = [[printable(log.redact(cell), _LONGEST_CELL) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, clean)
    else:
        print("\n".join(aligned(headings, clean)))  # noqa: T201 - asked for


def aligned(headings: Sequence[str], rows: Rows) -> list[str]:
    """Give the lines of a plain table, two blanks between columns, none at the end of a line."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def _print_rich(headings: Sequence[str], rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
