"""
What the front has gathered to tell of a run, kept in a file beside the run's record until it has been told.

If the front is killed, `settle` tells it from there. Mode 0600, and without secrets: notes are masked before they get
here, of a plan there are only addresses.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from tfguard.jobfiles import own_file, run_record
from tfguard.jobfiles.run_record import STORY_SUFFIX, ProcessMark
from tfguard.terraform.fingerprint import Fingerprint
from tfguard.terraform.plan_json import PlannedChanges
from tfguard.wire import pack, unpack

_MAX_BYTES = 8 * 1024 * 1024


class PlanFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plan is saved, and where it is as JSON: in a folder that only we can enter."""

    plan: str
    shown: str


class ReportFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the run is to be told, whatever the platform: an absolute path, and how long it may be in bytes."""

    path: str
    limit: int


class Story(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    `command`: what was last asked of Terraform (`plan`, `state mv`), `workspace` and `directory`: where;
    `job_workspace`: the one that the job itself names, empty where it names none. `queued`:
    annotations for which it was not the time yet. `holder`: who held the lock, as JSON. `stopped_by`: the signal that
    asked the run to stop. `front`: who gathers this, and will tell it if it lives.
    """

    label: str = ""
    command: str = ""
    workspace: str = ""
    job_workspace: str = ""
    directory: str = ""
    notes: list[str] = []
    queued: list[str] = []
    changes: PlannedChanges | None = None
    fingerprint: Fingerprint | None = None
    files: PlanFiles | None = None
    reports: tuple[ReportFile, ...] = ()
    holder: str = ""
    stopped_by: int = 0
    front: ProcessMark | None = None

    @property
    def is_plan(self) -> bool:
        """Whether what Terraform printed last is a plan, and changed nothing."""
        return self.command.startswith("plan")

    def save(self, record: Path) -> None:
        """Write it beside a record. Where that cannot be, a killed run's story is shorter."""
        with contextlib.suppress(OSError):
            run_record.write_private(record.with_suffix(STORY_SUFFIX), pack(self))


def read(record: Path) -> Story | None:
    """Read what was gathered beside a record; None if it has been told, or is none of ours."""
    data = own_file.read(record.with_suffix(STORY_SUFFIX), _MAX_BYTES)  # It names files to write.
    try:
        return unpack(data, Story) if data is not None else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def own_mark() -> ProcessMark | None:
    return run_record.mark(os.getpid())
