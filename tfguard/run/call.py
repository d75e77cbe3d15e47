"""
What tfguard was called with, before anything is resolved.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tfguard.config.options import Options
from tfguard.errors import UsageError

if TYPE_CHECKING:
    from tfguard.report.reporter import Reporter


class NamedLock(msgspec.Struct, frozen=True):
    """A lock that is no state's: the user's own name for it, and the URL of where it lives."""

    name: str
    store: str

    @property
    def options(self) -> str:
        """What names it on a command line."""
        return shlex.join(["--name", self.name, "--store", self.store])


@dataclass
class Call:
    """
    One call of tfguard, as it was typed, and where to speak.

    `options` and `named` come to know what an own command's arguments say (`about`).
    """

    options: Options
    environ: Mapping[str, str]
    report: Reporter
    named: NamedLock | None = None

    def about(self, pipeline: str | None, name: str | None = None, store: str | None = None) -> Call:
        """
        Take PIPELINE as an argument for what -p means, and --name with --store for the lock.

        Raises:
            UsageError: -p names another pipeline, or one of --name and --store is missing.
        """
        if bool(name) != bool(store):
            raise UsageError("--name and --store go together.", "For example: --name deploy --store dynamodb://locks")
        self.named = NamedLock(name, store) if name and store else None
        given = self.options.pipeline
        if pipeline and given and pipeline != given:
            raise UsageError(f"-p says {given}, the argument says {pipeline}.", "Give one of them.")
        self.options = replace(self.options, pipeline=pipeline or given)
        return self

    @property
    def name(self) -> str:
        """What to call it before anything is resolved."""
        return self.options.pipeline or (self.named.name if self.named else "tfguard")
