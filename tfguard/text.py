"""Text that strangers wrote, made harmless before it is shown."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: Of these, what JSON allows to stand in a text as it is.
_INVISIBLE = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", ""))
_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def valid(text: str) -> str:
    """Return text that can be written as UTF-8: with U+FFFD for each byte that was none, as Terraform writes it."""
    return _SURROGATE.sub(_INSTEAD, text)


def as_bytes(text: str) -> bytes:
    """Return the bytes of a name, an argument or a variable, as whoever gave them to us wrote them."""
    return text.encode("utf-8", "surrogateescape")


def printable(text: str, limit: int = 200) -> str:
    """Make text from a stranger's record safe for a terminal and a log: one line, no escapes, bounded, valid."""
    clean = _CONTROL.sub(_INSTEAD, valid(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def escaped_json(text: str) -> str:
    """Make a JSON document say the same without any sign that does something to a terminal or a CI's log."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
