"""
Text that strangers wrote, made harmless before it is shown.

Harmless is what does nothing wherever it is printed: not to a terminal (control signs, text turned round), and not in
the log of a CI job, whose runner obeys lines: `::set-output…` at the start of one (GitHub), `##[…]`, `##vso[…]`,
`##teamcity[…]` anywhere in it (GitHub, Azure, TeamCity). What was broken up stays readable. Doing it twice changes
nothing more.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: Of these, what JSON allows to stand in a text as it is.
_INVISIBLE = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", ""))
_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTEAD = "\N{REPLACEMENT CHARACTER}"
#: What a runner that compares as people read may pass over: hyphens, joiners, marks of no width, and what we put in.
_PASSED_OVER = (
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f"
    f"\ufe00-\ufe0f\ufeff{_INSTEAD}]"
)
#: GitHub's runner skips blanks before it looks; a carriage return begins a line for it.
_COMMAND_AT_START = re.compile(rf"(^|[\r\n])((?:[^\S\r\n]|{_PASSED_OVER})*):(?={_PASSED_OVER}*:)")
_COMMAND_WITHIN = re.compile(rf"#(?={_PASSED_OVER}*#(?:{_PASSED_OVER}|[a-z])*\[)", re.IGNORECASE)


def valid(text: str) -> str:
    """Return text that can be written as UTF-8: with U+FFFD for each byte that was none, as Terraform writes it."""
    try:
        text.encode()  # Nearly all text can, and this is found out three times as quickly.
    except UnicodeEncodeError:
        return _SURROGATE.sub(_INSTEAD, text)
    return text


def as_bytes(text: str) -> bytes:
    """Return the bytes of a name, an argument or a variable, as whoever gave them to us wrote them."""
    return text.encode("utf-8", "surrogateescape")


def visible(text: str) -> str:
    """Replace whatever moves a cursor, hides text, turns it round, begins another line or is no text at all."""
    return text if text.isprintable() else _CONTROL.sub(_INSTEAD, valid(text))


def unobeyed(text: str) -> str:
    """Break up what a CI's runner would obey, in each line of a text."""
    if ":" in text:
        text = _COMMAND_AT_START.sub(r"\1\2: ", text)
    return _COMMAND_WITHIN.sub("# ", text) if "#" in text else text


def harmless(text: str) -> str:
    """Make what a stranger wrote safe to be printed. Lines stay lines."""
    return unobeyed("\n".join(map(visible, text.split("\n"))))


def printable(text: str, limit: int = 200) -> str:
    """Make text from a stranger's record safe for a terminal and a log: one line, no escapes, bounded, valid."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "::" not in text and "##" not in text:
        return text  # as nearly all is; to look for the rest takes ten times as long
    clean = unobeyed(visible(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def escaped_json(text: str) -> str:
    """Make a JSON document say the same without any sign that does something to a terminal or a CI's log."""
    text = _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return _COMMAND_WITHIN.sub(r"\\u0023", text)  # This sign stands in texts alone.
