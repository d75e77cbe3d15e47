"""
`--report FILE.md|.json`: a run told in a file of the user's, on a laptop as in any CI.

It is written whole, by rename, when the run has ended; a link in its place is replaced, and what it names stays. Its
mode is that of any new file of the user's: a report is made for others to read, a later step, a comment, an artifact;
and it holds nothing but what the job's log shows as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfguard import files
from tfguard.errors import UsageError
from tfguard.jobfiles.story import ReportFile
from tfguard.report import log, summary
from tfguard.report.listener import Reports
from tfguard.report.summary import Page
from tfguard.text import printable, valid

_SUFFIXES = (".md", ".json")
_EXAMPLE = "For example: tfguard --report plan.md --report-limit 65000 plan"


def read_options(paths: Sequence[str], limit: str | None) -> tuple[ReportFile, ...]:
    """
    Return the files to report to.

    Raises:
        UsageError: One could not be written, or `limit` is no size. Nothing has been run yet.
    """
    if limit is not None and not paths:
        raise UsageError("--report-limit goes with --report.", _EXAMPLE)
    size = summary.LIMIT_BYTES if limit is None else _size(limit)
    return tuple(ReportFile(path=_checked(path), limit=size) for path in dict.fromkeys(paths))


class ReportFiles:
    """A listener: writes each of the files."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def finish(self, page: Page) -> None:
        for report in self._reports:
            try:
                write(report, page)
            except OSError as error:
                log.get_logger().warning("report.failed", path=report.path, error=error.strerror)


def listen(_: Mapping[str, str], reports: Reports) -> ReportFiles:
    return ReportFiles(reports)


def write(report: ReportFile, page: Page) -> None:
    """Write the page in the form that the file's name asks for. Raises OSError."""
    is_json = report.path.endswith(".json")
    data = summary.render_json(page, report.limit) if is_json else valid(summary.render(page, report.limit)).encode()
    files.replace(Path(report.path), data)


def _size(limit: str) -> int:
    size = int(limit[:9]) if limit.isascii() and limit.isdigit() else 0
    if size < summary.SMALLEST_LIMIT_BYTES:
        least = summary.SMALLEST_LIMIT_BYTES
        raise UsageError(f"--report-limit is {printable(limit, 40)!r}, and not {least} bytes or more.", _EXAMPLE)
    return size


def _checked(path: str) -> str:
    shown = printable(path, 60)
    if not path.endswith(_SUFFIXES):
        raise UsageError(f"--report {shown}: its name ends neither in .md nor in .json.", _EXAMPLE)
    folder = os.path.realpath(os.path.dirname(path) or ".")
    whole = os.path.join(folder, os.path.basename(path))
    if os.path.islink(whole):
        _check_link(whole, shown)
    elif os.path.exists(whole) and not os.path.isfile(whole):
        raise UsageError(f"--report {shown} is there, and is no file.", "Give it another name.")
    if not os.path.isdir(folder):
        raise UsageError(f"--report {shown}: there is no folder {printable(folder, 60)}.", "Make it first.")
    try:
        files.write_beside(Path(whole), b"").unlink()
    except OSError as error:
        raise UsageError(
            f"--report {shown}: {printable(folder, 60)} cannot be written to: {error.strerror}."
        ) from error
    return whole


def _check_link(path: str, shown: str) -> None:
    """Of a link, itself is replaced, and what it leads to stays: it has to be meant for reports, and ours."""
    target = os.readlink(path)
    if not target.endswith(os.path.splitext(path)[1]):
        raise UsageError(
            f"--report {shown} is a link to {printable(target, 60)}, which is no report.", "Give it another name."
        )
    if os.lstat(path).st_uid != os.geteuid():
        raise UsageError(f"--report {shown} is another user's link.", "Give it another name.")
