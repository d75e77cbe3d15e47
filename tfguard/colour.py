"""
Colour, as people ask for it: on a terminal, and wherever it is forced.

The order is Python's own: NO_COLOR, then FORCE_COLOR or CLICOLOR_FORCE, then TERM=dumb, then whether it is a terminal.
A CI's log counts as none, though some runners give their jobs one. What programs read (JSON) never asks here.
"""

from __future__ import annotations

import os
from typing import Literal, Protocol

Hue = Literal["red", "green", "yellow", "cyan"]
_CODES: dict[Hue, int] = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}


class Stream(Protocol):
    """What text is written to."""

    def isatty(self) -> bool: ...


def is_wanted(stream: Stream) -> bool:
    """Whether what is written there may be coloured."""
    environ = os.environ
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("TERM") == "dumb" or environ.get("CI"):
        return False
    try:
        return stream.isatty()
    except (ValueError, AttributeError):  # It is closed, or none.
        return False


def paint(text: str, hue: Hue) -> str:
    return f"\x1b[{_CODES[hue]}m{text}\x1b[0m"
