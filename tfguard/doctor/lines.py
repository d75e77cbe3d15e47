"""Findings as lines for people: `✓ digest  the state and its digest agree`, and what to do in a line of its own."""

from __future__ import annotations

from collections.abc import Iterator

from tfguard.doctor.examination import Finding, Mark
from tfguard.lock.lockinfo import printable
from tfguard.report import log

_MARKS: dict[Mark, str] = {"ok": "✓", "warning": "!", "failure": "✗", "absent": "+"}
_LONGEST = 300


def as_lines(finding: Finding, width: int) -> Iterator[str]:
    """Write one finding; `width` is that of the longest check's name. What strangers wrote is made printable here."""
    yield f"{_MARKS[finding.mark]} {finding.check:<{width}}  {printable(log.redact(finding.says), _LONGEST)}"
    if finding.advice:
        yield f"  {'':<{width}}  → {printable(log.redact(finding.advice), _LONGEST)}"
