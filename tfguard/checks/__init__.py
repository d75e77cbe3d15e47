"""
What `tfguard doctor` looks at: one function a check, each harmless, each answering in a line and, if need be, advice.

A check never raises: what it cannot find out is a finding too. Nothing here takes the state's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tfguard import log
from tfguard.context import Context
from tfguard.errors import TfguardError
from tfguard.lockinfo import printable
from tfguard.operator import OperatedLock
from tfguard.store import Target

Mark = Literal["ok", "warning", "failure", "absent"]
_MARKS: dict[Mark, str] = {"ok": "✓", "warning": "!", "failure": "✗", "absent": "+"}


class Finding(msgspec.Struct, frozen=True):
    """What one check found; `advice` says what to do, empty where all is well. `absent` is what would be created."""

    check: str
    mark: Mark
    says: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at. `target` and `lock` are None for the checks that need neither."""

    context: Context
    environ: Mapping[str, str]
    target: Target | None = None
    lock: OperatedLock | None = None


Answer = tuple[Mark, str, str]
Check = Callable[[Patient], "Answer | None"]


def ok(says: str) -> Answer:
    return "ok", says, ""


def warning(says: str, advice: str) -> Answer:
    return "warning", says, advice


def failure(says: str, advice: str) -> Answer:
    return "failure", says, advice


def examine(patient: Patient, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Make each check that applies, in the table's order."""
    for name, check in checks.items():
        try:
            answer = check(patient)
        except TfguardError as error:
            first, *rest = str(error).splitlines() or [type(error).__name__]
            answer = failure(first, " ".join(rest))
        if answer is not None:
            yield Finding(name, *answer)


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Write `✓ digest  the state and its digest agree`, and what to do in a line of its own."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        yield f"{_MARKS[finding.mark]} {finding.check:<{width}}  {printable(log.redact(finding.says), 300)}"
        if finding.advice:
            yield f"  {'':<{width}}  → {printable(log.redact(finding.advice), 300)}"
