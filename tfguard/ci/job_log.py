"""
Which of our streams the job's log is: what is meant for the platform must not get into a file or another program.

`tfguard plan > plan.txt`, `words=$(tfguard fmt -check)` and `tfguard show | jq` redirect stdout below the job's shell.
"""

from __future__ import annotations

import os
import stat

_STDOUT, _STDERR = 1, 2


def stream_for(wanted: int) -> int:
    """Return `wanted`, or 2 where that is stdout and leads elsewhere than to the job's log."""
    return _STDERR if wanted == _STDOUT and not _is_log() else wanted


def _is_log() -> bool:
    """
    Whether stdout goes where it went before somebody redirected it: to where stderr goes, or, as on GitHub, elsewhere.

    Redirected it is if it is a file, or if the shell that started us shares its stderr with us, and not its stdout.
    """
    ours = _file_of(_STDOUT)
    if ours is None or ours == _file_of(_STDERR):
        return True
    mode = os.fstat(_STDOUT).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return os.isatty(_STDOUT)
    shell = f"/proc/{os.getppid()}/fd"
    return ours == _file_of(f"{shell}/1") or _file_of(_STDERR) != _file_of(f"{shell}/2")


def _file_of(place: int | str) -> tuple[int, int] | None:
    try:
        found = os.stat(place)
    except OSError:
        return None
    return found.st_dev, found.st_ino
