"""
What a run leaves in a file, so that a later step of the same job can settle it: wait for it, or release its lock.

The keeper writes it, for the keeper outlives the front. One file for each run, mode 0600, in a folder that all steps of
a job share. It names no secret: credentials are resolved again by whoever settles.

Not promised: where the folder cannot be written there is no record, and a killed run's lock is left to its lease.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from tfguard import files
from tfguard.backends.target import Target
from tfguard.ci import platforms
from tfguard.clock import boot_id, created, pid_namespace, started
from tfguard.guard.messages import Family
from tfguard.jobfiles import own_file
from tfguard.jobfiles.transcript import Transcript
from tfguard.wire import Stranger, pack, unpack

#: How many records of runs that ended are kept where nobody settles, as on a laptop.
KEPT_RECORDS = 20
#: How long the story of a killed run is kept that has no record.
KEPT_SECONDS = 7 * 86400.0
_SUFFIX = ".json"
#: Beside a record, while its run is not told of yet: what Terraform printed, and what the front has gathered.
TEXT_SUFFIX, STORY_SUFFIX = ".text", ".story"
_MAX_BYTES = 256 * 1024
#: What decides, besides the directory, which state a run was about.
_CHOOSERS = ("TF_DATA_DIR", "TF_WORKSPACE")


class ProcessMark(msgspec.Struct, frozen=True, kw_only=True):
    """A process, told apart from a later one with the same PID by the instant it started."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        return started(self.pid) == self.started != ""


class RunRecord(Stranger, frozen=True, kw_only=True, omit_defaults=True):
    """
    One run under one lock. Times RFC 3339, for people; durations in seconds.

    `target` is without secrets; `is_stripped` says that there were some. `release` is how the release ended, empty
    while the lock is held. `namespace` is the PID namespace that the marks belong to.
    """

    used_raw = frozenset({"directory", "pipeline", "config"})

    label: str
    again: str
    target: Target
    is_stripped: bool = False
    directory: str = ""
    pipeline: str = ""
    config: str = ""
    choosers: dict[str, str] = {}
    who: str = ""
    command: str = ""
    run: str = ""
    lease_seconds: float = 0.0
    lock_id: str = ""
    force_unlock_id: str = ""
    token: int = 0
    boot: str = ""
    namespace: str = ""
    front: ProcessMark | None = None
    keeper: ProcessMark | None = None
    child: ProcessMark | None = None
    family: Family | None = None
    held_at: str = ""
    waited_s: float = 0.0
    held_s: float = 0.0
    outcome: str = ""
    exit_code: int | None = None
    release: str = ""

    @property
    def is_here(self) -> bool:
        """Whether its processes, if they live, can be seen from here."""
        return bool(self.boot) and (self.boot, self.namespace) == (boot_id(), pid_namespace())

    @property
    def is_running(self) -> bool:
        """Whether any of its processes lives. Only where `is_here`."""
        return any(mark is not None and mark.is_alive() for mark in (self.front, self.keeper, self.child))


class RecordWriter:
    """
    The record of one run, kept by its keeper. Nothing here raises: a record that cannot be written is not there.

    `path` empty: there is to be none.
    """

    def __init__(self, path: str, record: RunRecord | None) -> None:
        self._path = Path(path) if path and record else None
        self._record = record
        self._transcript: Transcript | None = None

    @classmethod
    def of(cls, path: str, record: str) -> RecordWriter:
        """Make the writer of a record that the front has packed."""
        return cls(path, unpack(record.encode(), RunRecord) if record else None)

    def note(self, **facts: Any) -> None:
        """Change the record, and write it."""
        if self._path is None or self._record is None:
            return
        self._record = msgspec.structs.replace(self._record, **facts)
        with contextlib.suppress(OSError):
            write(self._path, self._record)

    def note_held(self, **facts: Any) -> None:
        """Note that the lock is ours, and who we are."""
        marks = {"front": mark(os.getppid()), "keeper": mark(os.getpid())}
        held_at = created(datetime.now(timezone.utc))
        self.note(boot=boot_id(), namespace=pid_namespace(), held_at=held_at, **marks, **facts)
        if self._path is not None:
            prune(self._path.parent)

    def note_child(self, pid: int, family: Family | None = None) -> None:
        """Note which program runs, and by what its family is known."""
        self.note(child=mark(pid), family=family)

    def keep_text(self, data: bytes) -> None:
        """Keep what the front did not live to read of Terraform's text, if it kept any."""
        if self._transcript is None and self._path is not None:
            self._transcript = Transcript.find(self._path.with_suffix(TEXT_SUFFIX))
        if self._transcript is not None:
            self._transcript.write(data)


# --- files ----------------------------------------------------------------------------------------------------------


def folder(environ: Mapping[str, str]) -> Path:
    """Where the records of this job are: a place that every step of it shares, and that outlives a container."""
    own = Path(environ["TFGUARD_RECORDS"]) if environ.get("TFGUARD_RECORDS") else None
    of_job = own or platforms.records_folder(environ)
    if of_job is not None:
        return of_job
    if not (environ.get("XDG_STATE_HOME") or environ.get("HOME")):
        # Whoever was there first may own a folder of this name: then nothing is written there, nor read.
        return Path(tempfile.gettempdir(), f"tfguard-{os.geteuid()}")
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ["HOME"], ".local/state")
    return Path(home, "tfguard", "runs")


def is_shared(environ: Mapping[str, str]) -> bool:
    """Whether `folder` holds the runs of other jobs and directories too."""
    return not environ.get("TFGUARD_RECORDS") and platforms.find_job(environ) is None


def new_path(environ: Mapping[str, str]) -> str:
    """Name a file for a new run, beside those of the runs before it."""
    return str(folder(environ) / f"{uuid.uuid4().hex}{_SUFFIX}")


def paths(place: Path) -> list[Path]:
    """The records in a folder, oldest first; or the file itself."""
    if os.path.isfile(place):
        return [place]
    with contextlib.suppress(OSError):
        found = [(path.lstat().st_mtime_ns, path) for path in files.inside(place, _SUFFIX)]
        return [path for _, path in sorted(found)]
    return []


def read(path: Path) -> RunRecord | None:
    """Read a record; None if there is none, or it is none of ours."""
    data = own_file.read(path, _MAX_BYTES)
    try:
        return unpack(data, RunRecord) if data is not None else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def write(path: Path, record: RunRecord) -> None:
    """Write a record whole, readable by its owner alone. Raises OSError."""
    write_private(path, pack(record))


def write_private(path: Path, data: bytes) -> None:
    """Write a file of this folder whole, readable by its owner alone. Raises OSError."""
    own_file.make_folder(path.parent)
    own_file.write(path, data)


def prune(place: Path) -> None:
    """Remove the oldest records of runs that have ended and that nobody settled."""
    ended = [path for path in paths(place) if (record := read(path)) is not None and record.release]
    for path in ended[:-KEPT_RECORDS]:
        remove(path)
    for path in files.inside(place, STORY_SUFFIX, TEXT_SUFFIX):
        with contextlib.suppress(OSError):
            # Of a run without a lock, which had no record, and which nobody settled.
            if not path.with_suffix(_SUFFIX).exists() and time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()


def remove(path: Path) -> None:
    """Remove a record, and whatever stands beside it."""
    forget_story(path)
    with contextlib.suppress(OSError):
        path.unlink()


def forget_story(path: Path) -> None:
    """Remove what stands beside a record: it has been told."""
    for suffix in (STORY_SUFFIX, TEXT_SUFFIX):
        with contextlib.suppress(OSError):
            path.with_suffix(suffix).unlink()


# --- processes ------------------------------------------------------------------------------------------------------


def mark(pid: int) -> ProcessMark | None:
    """Mark a living process; None if it is gone."""
    began = started(pid)
    return ProcessMark(pid=pid, started=began) if began else None


# --- secrets --------------------------------------------------------------------------------------------------------


def choosers(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the environment decides about the state."""
    return {name: environ[name] for name in _CHOOSERS if name in environ}
