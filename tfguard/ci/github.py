"""
GitHub Actions: workflow commands in the log, and the files of a step.

Its documents: "Workflow commands for GitHub Actions". Commands are obeyed wherever they are printed, so that a
stranger's text stands between `stop-commands` and a token that nobody can guess.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tfguard.ci.platform import NOWHERE, Place, Platform
from tfguard.text import valid

#: GitHub cuts an annotation after 4096 signs.
_MAX_ANNOTATION = 2000
_MAX_TITLE = 200
#: GitHub refuses the summary of a step altogether if it is above 1 MiB.
_MAX_SUMMARY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class GitHub(Platform):
    environ: Mapping[str, str]
    job_folder = "RUNNER_TEMP"
    records = "tfguard"
    fails_on_every_status = True
    max_annotations = 10

    def open_group(self, title: str, token: str) -> str:
        return f"::group::{escaped(title)}\n::stop-commands::{token}\n"

    def close_group(self, token: str) -> str:
        return f"\n::{token}::\n::endgroup::\n"  # Terraform's last line may have had no end.

    def annotation(self, level: str, text: str, number: int, place: Place = NOWHERE) -> str:
        if number > self.max_annotations:
            return ""
        at = f"file={_property(place.file)},line={place.line}," if place.file else ""
        return f"::{level} {at}title={_property(place.title[:_MAX_TITLE])}::{escaped(text[:_MAX_ANNOTATION])}"

    def checkout(self) -> str:
        return self.environ.get("GITHUB_WORKSPACE", "")

    def write_outputs(self, outputs: Mapping[str, str]) -> None:
        self._append("GITHUB_OUTPUT", "".join(_output(name, value) for name, value in outputs.items()))

    def append_summary(self, render: Callable[[int], str], smallest_bytes: int) -> None:
        """Of all that one step appends, GitHub shows nothing if it is too much: the first has the most room."""
        path = self.environ.get("GITHUB_STEP_SUMMARY", "")
        room = _MAX_SUMMARY_BYTES - (os.path.getsize(path) if os.path.isfile(path) else 0)
        if room >= smallest_bytes:
            self._append("GITHUB_STEP_SUMMARY", render(room))

    def way_to_install(self, extra: str) -> str:
        return f"Give the action `extras: {extra}`"

    def make_plan_folder(self) -> str:
        import tempfile  # Slow to import.

        return tempfile.mkdtemp(prefix="tfguard-plan-", dir=self.environ[self.job_folder])

    def _append(self, variable: str, text: str) -> None:
        path = self.environ.get(variable)
        if path:
            with contextlib.suppress(OSError), open(path, "ab") as file:
                file.write(valid(text).encode())


def escaped(text: str) -> str:
    """Escape the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape what stands before the message, where a comma and a colon end it."""
    return escaped(text).replace(":", "%3A").replace(",", "%2C")


def _output(name: str, value: str) -> str:
    """A step output, in the form in which no value can end early."""
    mark = f"tfguard_{os.urandom(16).hex()}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"
