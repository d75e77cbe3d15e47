"""
Terraform's errors and warnings, as it prints them or as its JSON stream has them, each with where it points to.

The text is without colours here. In a job's log Terraform draws a frame around each (`│`), with `-no-color` it draws
none; then what follows the last one may be taken for its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Literal

import msgspec

from tfguard.terraform.own_text import before_values
from tfguard.terraform.plan_json import read_messages

Severity = Literal["error", "warning"]

_BEGIN = re.compile(r"(Error|Warning): (.*\S)")
_SEVERITIES: dict[str, Severity] = {"Error": "error", "Warning": "warning", "error": "error", "warning": "warning"}
_PLACE = re.compile(r"  on (.{1,1000}) line (\d{1,7})(?:, in .*)?:")
#: The lines that Terraform quotes, and what it says of values in them.
_QUOTED = re.compile(r"  with .*,|  on .*:| *\d+: .*| *[├│].*")
#: What may follow one that has no frame.
_FOLLOWING = re.compile(
    r"─{20}|(?:Plan|Error|Warning): |(?:Apply|Destroy) complete!|Saved the plan|Releasing state lock"
)
_MAX_LINES = 40
#: Of the first error, which is shown in full.
_MOST_LINES = 2000


class Diagnostic(msgspec.Struct, frozen=True):
    """`file` is as Terraform names it, relative to where it works; empty where it points nowhere, and `line` is 0."""

    severity: Severity
    summary: str
    detail: str = ""
    file: str = ""
    line: int = 0


class _Start(msgspec.Struct):
    line: int = 0


class _Range(msgspec.Struct):
    filename: str = ""
    start: _Start = msgspec.field(default_factory=_Start)


class _Told(msgspec.Struct):
    severity: str = ""
    summary: str = ""
    detail: str = ""
    range: _Range | None = None


class _Message(msgspec.Struct):
    type: str = ""
    diagnostic: _Told | None = None


def read_diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """Return each once, errors first, else in Terraform's order. Never raises."""
    lines = before_values(text).split("\n")
    read = dict.fromkeys([*_of_text(lines), *_of_messages(lines)])
    return tuple(sorted(read, key=lambda each: each.severity != "error"))


def read_first_error(text: str) -> str:
    """Return the first error in full, as Terraform shows it, less its frame; empty if there is none. Never raises."""
    lines = text.split("\n")
    for is_apart in (True, False):  # Other programs print errors, too.
        found = _bodies(lines, _MOST_LINES, is_apart=is_apart)
        if first := next((body for severity, body in found if severity == "error"), None):
            return "\n".join(line.rstrip() for line in first).strip()
    return next((_shown(each) for each in _of_messages(lines) if each.severity == "error"), "")


def _shown(told: Diagnostic) -> str:
    """As Terraform shows one that it has told in its JSON stream."""
    place = f"  on {told.file} line {told.line}" if told.file else ""
    return "\n\n".join(filter(None, [f"Error: {told.summary}", place, told.detail])).strip()


def _of_text(lines: list[str]) -> Iterator[Diagnostic]:
    for severity, (first, *body) in _bodies(lines, _MAX_LINES):
        yield _made(severity, first.partition(": ")[2].rstrip(), body)


def _bodies(lines: list[str], most: int, *, is_apart: bool = True) -> Iterator[tuple[Severity, list[str]]]:
    """
    Give the lines of each, without a frame, and no more than `most` behind the first. `is_apart`: only those that have
    an empty line before them, as Terraform's have.
    """
    for number, line in enumerate(lines):
        is_framed = line.startswith("│ ")
        begin = _BEGIN.match(line[2:] if is_framed else line)
        before = lines[number - 1] if number else ""
        if begin is None or (before.startswith("│") if is_framed else is_apart and before):
            continue  # Within a frame, or right below another line, it is what another one says.
        following = lines[number + 1 : number + 1 + most]
        body = _framed(following) if is_framed else takewhile(lambda each: not _FOLLOWING.match(each), following)
        yield _SEVERITIES[begin[1]], [begin[0], *body]


def _framed(lines: Iterable[str]) -> Iterator[str]:
    for line in takewhile(lambda each: each.startswith("│"), lines):
        yield line[2:]


def _made(severity: Severity, summary: str, body: list[str]) -> Diagnostic:
    place = next(filter(None, map(_PLACE.fullmatch, body)), None)
    detail = "\n".join(line.rstrip() for line in body if not _QUOTED.fullmatch(line.rstrip() or " ")).strip()
    file, line = (place[1], int(place[2])) if place else ("", 0)
    return Diagnostic(severity, summary, re.sub(r"\n{3,}", "\n\n", detail), file, line)


def _of_messages(lines: list[str]) -> Iterator[Diagnostic]:
    for message in read_messages(lines, "diagnostic", _Message):
        told = message.diagnostic
        if told is None or told.severity not in _SEVERITIES:
            continue
        at = told.range if told.range is not None and told.range.start.line > 0 else _Range()
        yield Diagnostic(_SEVERITIES[told.severity], told.summary, told.detail, at.filename, at.start.line)
