"""
The job's page on the CI platform: groups around Terraform's text, annotations, step outputs, a summary.

Only where `TFGUARD_CI_LOG=1` says so, as our action and template do: whoever pipes our stdout elsewhere gets it
untouched. What surrounds Terraform's text goes to stdout, as that does; annotations to stderr: stdout may be data.

Not promised: anything at all when the front is killed; `settle` writes then what the run's record knows.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tfguard import ci, log, summary
from tfguard.planjson import PlannedChanges

#: GitHub shows ten annotations of a step, each cut after 4096 signs.
_MAX_ANNOTATIONS = 10
_MAX_ANNOTATION = 2000
_ANNOTATED = re.compile(r"run\.failed|run\.timed_out|lease\.(lost|taken_over)|state\.\w+|settle\.(released|failed)")
_CLOSING = re.compile(r"(\d+) added, (\d+) changed, (\d+) destroyed")


@dataclass(frozen=True)
class PlanFiles:
    """Where a plan is saved, and where it is as JSON: in a folder that only we can enter."""

    plan: str
    shown: str


@dataclass
class JobPage:
    """One run's page. Nothing here raises: what cannot be written is left out."""

    environ: Mapping[str, str] = field(repr=False)
    is_github: bool = False
    is_gitlab: bool = False
    changes: PlannedChanges | None = None
    files: PlanFiles | None = None
    text: str = ""
    _is_fenced: bool = False
    _queued: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _outputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> JobPage | None:
        """Give the page of this job; None where nobody asked for one."""
        if environ.get("TFGUARD_CI_LOG") != "1":
            return None
        github, gitlab = environ.get("GITHUB_ACTIONS") == "true", environ.get("GITLAB_CI") == "true"
        return cls(environ, github, gitlab) if github or gitlab else None

    # --- Terraform's text ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def fenced(self, words: Sequence[str]) -> Iterator[None]:
        """
        Put Terraform's text between marks, in which GitHub obeys none of its lines.

        A command whose stdout is data (`-json`) is left alone.
        """
        if any(word in ("-json", "--json") or word.startswith(("-json=", "--json=")) for word in words):
            yield
            return
        title = " ".join(["terraform", *words[:1]])
        token = secrets.token_hex(16)
        self._open(title, token)
        self._is_fenced = True
        try:
            yield
        finally:
            self._is_fenced = False
            self._close(token)

    def _open(self, title: str, token: str) -> None:
        if self.is_github:
            _print(f"::group::{ci.escape_github(title)}")
            _print(f"::stop-commands::{token}")
        else:
            _print(f"\x1b[0Ksection_start:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K{title}")

    def _close(self, token: str) -> None:
        if self.is_github:
            _print(f"\n::{token}::")  # Terraform's last line may have had no end.
            _print("::endgroup::")
        else:
            _print(f"\x1b[0Ksection_end:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K")

    # --- what we say --------------------------------------------------------------------------------------------

    def hear(self, level: str, event: str, text: str, facts: Mapping[str, Any]) -> None:
        """Note a message for the summary, and annotate with it if it is worth that."""
        if facts.get("holder"):
            self._outputs["lock-holder"] = msgspec.json.encode(facts["holder"], enc_hook=str).decode()
        if level != "info" and _ANNOTATED.fullmatch(event):
            self._annotate(level, log.redact(text))
        if "exit_code" in facts and event == "run.failed":  # Nothing was run: no line will end it.
            self.finish({**facts, "outcome": getattr(facts.get("reason"), "value", facts.get("reason"))})

    def _annotate(self, level: str, text: str) -> None:
        self._notes.append(text)
        if not self.is_github or len(self._notes) > _MAX_ANNOTATIONS:
            return
        line = f"::{level} title=tfguard::{ci.escape_github(text[:_MAX_ANNOTATION])}"
        if self._is_fenced:
            self._queued.append(line)
        else:
            _print(line, to=2)

    # --- the end ------------------------------------------------------------------------------------------------

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the outputs and the summary of a run that has ended."""
        # Only now: of stdout and stderr the runner may read either first, and inside the fence it would not obey.
        for line in self._queued:
            _print(line, to=2)
        self._queued.clear()
        outputs = {**self._outputs, **self._counts()}
        for name, fact in OUTPUT_FACTS.items():
            if facts.get(fact) is not None:
                outputs[name] = str(facts[fact])
        if self.files is not None:
            paths = {"plan-path": self.files.plan, "plan-json-path": self.files.shown}
            outputs |= {name: path for name, path in paths.items() if os.path.exists(path)}
        if self.is_github:
            self._append("GITHUB_OUTPUT", "".join(_output(name, value) for name, value in outputs.items()))
            self._append("GITHUB_STEP_SUMMARY", summary.render(self._page(facts)))

    def _page(self, facts: Mapping[str, Any]) -> summary.Page:
        who = ci.identify(self.environ)
        return summary.Page(
            label=str(facts.get("label") or "tfguard"),
            outcome=str(facts.get("outcome") or "unknown"),
            exit_code=facts.get("exit_code"),
            who=who.who,
            run=who.run,
            link=who.link,
            waited=facts.get("waited_s"),
            held=facts.get("held_s"),
            changes=self.changes,
            text=self.text,
            notes=tuple(self._notes),
        )

    def _counts(self) -> dict[str, str]:
        """From the saved plan; of a bare apply from Terraform's closing line."""
        if self.changes is not None:
            found = self.changes
            counts = {"add": found.add, "change": found.change, "destroy": found.destroy}
            return {"has-changes": str(found.has_changes).lower()} | {name: str(n) for name, n in counts.items()}
        said = _CLOSING.findall(self.text)
        return dict(zip(("add", "change", "destroy"), said[-1])) if said else {}

    def _append(self, variable: str, text: str) -> None:
        path = self.environ.get(variable)
        if path:
            with contextlib.suppress(OSError), open(path, "a", encoding="utf-8", errors="replace") as file:
                file.write(text)

    # --- plans --------------------------------------------------------------------------------------------------

    def place_plan(self, given: str | None) -> PlanFiles | None:
        """Say where the plan goes: where the user said, else into a folder of the job's. None if there is no place."""
        base = self.environ.get("RUNNER_TEMP") if self.is_github else self.environ.get("CI_PROJECT_DIR")
        if not base:
            return None
        place = Path(base) if self.is_github else Path(base, ".tfguard")
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = tempfile.mkdtemp(prefix="tfguard-plan-", dir=place) if self.is_github else str(place)
        except OSError:
            return None
        self.files = PlanFiles(given or os.path.join(folder, "tfplan"), os.path.join(folder, "tfplan.json"))
        return self.files

    def take_changes(self, changes: PlannedChanges | None) -> None:
        """Take what the plan will do; GitLab's merge requests show it from a report of their own form."""
        self.changes = changes
        if self.is_gitlab and self.files is not None and changes is not None:
            report = {"create": changes.add, "update": changes.change, "delete": changes.destroy}
            with contextlib.suppress(OSError):
                Path(self.files.shown).with_name("report.json").write_bytes(msgspec.json.encode(report))


#: Output → the fact of the line that ends a run.
OUTPUT_FACTS = {
    "exit-code": "exit_code",
    "outcome": "outcome",
    "lock-id": "lock_id",
    "fencing-token": "token",
    "waited-seconds": "waited_s",
    "held-seconds": "held_s",
}


def _output(name: str, value: str) -> str:
    """A step output, in the form in which no value can end early."""
    mark = f"tfguard_{secrets.token_hex(16)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def _print(line: str, to: int = 1) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        data = f"{line}\n".encode("utf-8", "replace")
        while data:
            data = data[os.write(to, data) :]
