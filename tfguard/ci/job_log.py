"""
Which of our streams the job's log is: what is meant for the platform must not get into a file or another program.

`tfguard plan > plan.txt`, `words=$(tfguard fmt -check)` and `tfguard show | jq` redirect stdout below the job's shell.
"""

from __future__ import annotations

import os
import stat

from tfguard.clock import process_facts

_STDOUT, _STDERR = 1, 2
_SHELLS = frozenset(["sh", "bash", "dash", "ash", "busybox", "ksh", "mksh", "zsh"])


def stream_for(wanted: int) -> int:
    """Return `wanted`, or 2 where that is stdout and leads elsewhere than to the job's log."""
    return _STDERR if wanted == _STDOUT and not _is_log() else wanted


def _is_log() -> bool:
    """
    Whether stdout goes where the job's outermost shell writes, whatever has become of stderr (`2>/dev/null`, `2>&1`).

    Where no shell has started us (an action's entry, `env`, `make`), stdout is the log if it goes where stderr goes; or
    if it is a pipe of its own, as on GitHub, and not one that our parent alone has turned aside.
    """
    ours = _file_of(_STDOUT)
    if ours is None:
        return True
    if shell := _outermost_shell():
        return ours in (_file_of(f"/proc/{shell}/fd/1"), _file_of(f"/proc/{shell}/fd/2"))
    if ours == _file_of(_STDERR):
        return True
    mode = os.fstat(_STDOUT).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return os.isatty(_STDOUT)
    parent = f"/proc/{os.getppid()}/fd"
    return ours == _file_of(f"{parent}/1") or _file_of(_STDERR) != _file_of(f"{parent}/2")


def _outermost_shell() -> int:
    """Return the last of the shells above us, with nobody between them; 0 if our parent is none, or cannot be seen."""
    shell, pid = 0, os.getppid()
    while (found := process_facts(pid))[0] in _SHELLS:
        shell, pid = pid, int(found[1][1])
    return shell if _file_of(f"/proc/{shell}/fd/1") else 0


def _file_of(place: int | str) -> tuple[int, int] | None:
    try:
        found = os.stat(place)
    except OSError:
        return None
    return found.st_dev, found.st_ino
