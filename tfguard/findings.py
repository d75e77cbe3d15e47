"""What a check found, and how it is shown: a line, and what to do in a line of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from tfguard import colour, redaction
from tfguard.errors import StoreUnavailable, TfguardCommand, TfguardError
from tfguard.text import printable

#: `absent` is what `tfguard bootstrap` would create.
Mark = Literal["ok", "warning", "failure", "absent"]


class Finding(msgspec.Struct, frozen=True):
    """What one check found; `advice` says what to do, empty where all is well."""

    check: str
    mark: Mark
    says: str
    advice: str = ""


Answer = tuple[Mark, str, str]


def ok(says: str) -> Answer:
    return "ok", says, ""


def warning(says: str, advice: str) -> Answer:
    return "warning", says, advice


def failure(says: str, advice: str) -> Answer:
    return "failure", says, advice


def failed(error: TfguardError, again: str = "tfguard") -> Answer:
    """What an error says, and what it says to do; `again` is how tfguard is called about the same thing."""
    first = error.what or type(error).__name__
    rest = [line.addressed(again) if isinstance(line, TfguardCommand) else line for line in error.advice]
    way_out = "Check the network and the endpoint." if isinstance(error, StoreUnavailable) else ""
    return failure(first, " ".join(rest) or way_out)


_MARKS: dict[Mark, tuple[str, colour.Hue]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failure": ("✗", "red"),
    "absent": ("+", "cyan"),
}


_LONGEST = 300


def as_lines(finding: Finding, width: int, *, is_coloured: bool = False) -> Iterator[str]:
    """Write one finding; `width` is that of the longest check's name. What strangers wrote is made printable here."""
    sign, hue = _MARKS[finding.mark]
    sign = colour.paint(sign, hue) if is_coloured else sign
    yield f"{sign} {finding.check:<{width}}  {printable(redaction.redact(finding.says), _LONGEST)}"
    if finding.advice:
        yield f"  {'':<{width}}  → {printable(redaction.redact(finding.advice), _LONGEST)}"
