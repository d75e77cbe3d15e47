"""Text that strangers wrote, made harmless before it is shown."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


#: Of these, what JSON allows to stand in a text as it is.
_INVISIBLE = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", ""))


def printable(text: str, limit: int = 200) -> str:
    """Make text from a stranger's record safe for a terminal and a log: one line, no escapes, bounded."""
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def printable_json(facts: Any) -> str:
    """Return indented JSON that says exactly these facts, and does nothing to a terminal or a CI's log on its way."""
    text = msgspec.json.format(msgspec.json.encode(facts)).decode()
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
