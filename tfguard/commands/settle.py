"""
`tfguard settle`: the last step of a job, for whatever its runs have left behind.

While anything of a run lives, it waits for it. If nothing does and the lock is still that run's, it releases it: at
once where the processes can be seen to be gone, otherwise after one lease without a heartbeat. Safe to call twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfguard.ci import identity
from tfguard.errors import TfguardError
from tfguard.git import is_tracked
from tfguard.jobfiles import own_file, run_record
from tfguard.jobfiles.run_record import RunRecord
from tfguard.report.messages import operating, phrases
from tfguard.report.messages.failing import failure
from tfguard.run.call import Call
from tfguard.run.settling import Settling, tell_of_unlocked


def run_settle(call: Call, *, timeout_seconds: float, place: str = "") -> int:
    """
    Settle every run of this job; return 0 when none of them holds its lock any more.

    Raises:
        LockBusy: One could not be settled in time; the others were.

        StoreDenied, StoreMisconfigured, StoreUnavailable: Its lock cannot be looked at.
    """
    environ, report = call.environ, call.report
    own_file.remember_job(environ)
    until = time.monotonic() + timeout_seconds
    folder = Path(place) if place else run_record.folder(environ)
    believed, refused = _believed(run_record.paths(folder))
    if refused:
        report.say("warning", "settle.refused", operating.not_believed(str(refused[0].parent), len(refused)))
    found = [path for path, record in believed.items() if place or _is_of_this_job(record, environ)]
    told = tell_of_unlocked(folder, environ, report) if place or not run_record.is_shared(environ) else 0
    if not found and not told:
        report.say("info", "settle.finished", operating.nothing_to_settle())
    problem: tuple[TfguardError, phrases.Subject] | None = None
    for path in found:
        settling = Settling(path, environ, report, until)
        try:
            settling.run()
        except TfguardError as error:
            if problem is not None:
                report.say("error", "settle.failed", failure(*problem))
            problem = error, settling.subject
    if problem is not None:
        raise problem[0]
    return 0


def _believed(paths: Sequence[Path]) -> tuple[dict[Path, RunRecord], list[Path]]:
    """Return the records that we have written ourselves, and those that may be anybody's."""
    believed: dict[Path, RunRecord] = {}
    refused: list[Path] = []
    for path in paths:
        record = run_record.read(path)
        if record is not None and (own_file.is_sealed() or not is_tracked(str(path.parent), path.name)):
            believed[path] = record
        elif os.path.lexists(path):
            refused.append(path)
    return believed, refused


def _is_of_this_job(record: RunRecord, environ: Mapping[str, str]) -> bool:
    """In a folder that belongs to the user rather than the job, only this CI run's, or this directory's, count."""
    if not run_record.is_shared(environ):
        return True
    run = identity.identify(environ).run
    return record.run == run if run else os.path.realpath(record.directory) == os.path.realpath(Path.cwd())
