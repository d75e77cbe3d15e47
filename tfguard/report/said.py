"""
What Terraform printed in a run, and what is read of it: once, however many tell of the run.

It may be a megabyte, and each look at all of it takes a tenth of a second of a runner's time.
"""

from __future__ import annotations

import re
from functools import cached_property

from tfguard import redaction
from tfguard.report.cures import cure
from tfguard.terraform.diagnostics import Diagnostic, read_diagnostics, read_first_error
from tfguard.terraform.own_text import before_values
from tfguard.terraform.plan_json import PlannedChanges, read_closing
from tfguard.terraform.plan_text import RunText, read_text
from tfguard.text import printable

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
    """Return Terraform's text without colours, control signs and secrets."""
    bare = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return redaction.redact("\n".join(printable(line, len(line) + 1) for line in bare.split("\n"))).strip("\n")
