"""
What Terraform printed in a run, and what is read of it: once, however many tell of the run.

It may be a megabyte, and each look at all of it takes a tenth of a second of a runner's time.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import groupby
from typing import Any

import msgspec

from tfguard import redaction
from tfguard.report.cures import cure
from tfguard.terraform.diagnostics import Diagnostic, read_diagnostics, read_first_error
from tfguard.terraform.own_text import before_values
from tfguard.terraform.plan_json import PlannedChanges, read_closing
from tfguard.terraform.plan_text import RunText, read_text
from tfguard.text import printable
from tfguard.wire import parse, publish

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class Said(str):  # noqa: SLOT000 - what has been read of it lies in its `__dict__`
    """The text as it was printed. All that is read of it has no colours, control signs and secrets any more."""

    @classmethod
    def of(cls, text: str) -> Said:
        """Return the text as one of these: itself, with what has been read of it, where it is one."""
        return text if isinstance(text, cls) else cls(text)

    @cached_property
    def plain(self) -> str:
        return plain(self)

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Terraform's errors and warnings."""
        return read_diagnostics(self.plain)

    @cached_property
    def first_error(self) -> str:
        """Terraform's first error in full, without its frame; empty if there is none."""
        return read_first_error(before_values(self.plain)) or read_first_error(self.plain)

    @cached_property
    def cure(self) -> str:
        """What helps against the errors, on one line; empty where nobody knows."""
        return cure(self.diagnostics)

    @cached_property
    def changes(self) -> RunText:
        """What Terraform's lines tell of what it does to each resource."""
        return read_text(self.plain)

    @cached_property
    def closing(self) -> PlannedChanges | None:
        """What the line counts that closes a plan or an apply; None if there is none."""
        return read_closing(self.plain)


def plain(text: str) -> str:
    """Return Terraform's text without colours, control signs and secrets. A message in JSON stays one."""
    parts: list[str] = []
    for are_messages, group in groupby(_bare(text).split("\n"), lambda line: line.startswith('{"@')):
        lines = list(group)
        parts += map(_message, lines) if are_messages else [redaction.redact("\n".join(lines))]
    return "\n".join(parts).strip("\n")


def _bare(text: str) -> str:
    bare = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return "\n".join(printable(line, 2 * len(line) + 1) for line in bare.split("\n"))  # What is broken up grows.


def _message(line: str) -> str:
    """Mask each text of a message for itself: what is taken for a secret ends at a blank, and the message has none."""
    line = redaction.redact_known(line)
    if "\\" not in line and redaction.redact_named(line) == line:
        return line
    try:
        return publish(_each_text(parse(line, dict[str, Any]))).decode()
    except (msgspec.DecodeError, RecursionError):
        return redaction.redact_named(line)


def _each_text(value: Any) -> Any:
    if isinstance(value, str):
        return redaction.redact(_bare(value))
    if isinstance(value, dict):
        return {redaction.redact(name): _each_text(each) for name, each in value.items()}
    return [_each_text(each) for each in value] if isinstance(value, list) else value
