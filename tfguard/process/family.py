"""
A process and all that descends from it: found, stopped, and looked at again. Standard library only.

| what         | to whom                | why                                                                   |
|--------------|------------------------|-----------------------------------------------------------------------|
| SIGSTOP/CONT | it and its descendants | nothing of it may write while nobody knows who holds the lock         |
| SIGKILL      | it and its descendants | only when another holds the lock, or nobody will ever know whose it is |

A signal that was sent is not a process that has stopped: `freeze` looks, and says who runs all the same.

Not promised: a descendant that has left the tree (its parent died) is out of reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import NamedTuple

#: A tree that forks while we stop it is walked again, this often at most.
_WALKS = 5
#: Stopped, traced, dead and not reaped yet, or gone: none of these writes.
_STILL = frozenset("TtZXx")
#: Where in the kernel a process waits that has started another by vfork, by the names of some versions.
_VFORKS = frozenset(["kernel_clone", "wait_for_vfork_done", "_do_fork", "do_fork"])


class Stat(NamedTuple):
    """A process by the kernel's word: its state as in `ps`, its parent, and when it started (ticks since boot)."""

    state: str
    parent: int
    started_at: int
    cpu_ticks: int


def stat(pid: int) -> Stat | None:
    """Look at one process; None if it is gone, or the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return Stat(fields[0].decode(), int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))
    except (OSError, IndexError, ValueError):
        return None


def started_at(pid: int) -> int:
    """When a process started, in ticks since boot: tells it from a later one of the same PID. 0 if unknown."""
    found = stat(pid)
    return found.started_at if found else 0


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has reaped yet has."""
    found = stat(pid)
    if found is not None:
        return found.state in "ZXx"
    return has_proc() or not _answers(pid)


def has_proc() -> bool:
    """Whether the kernel tells of processes here."""
    return os.path.isdir("/proc/self")


def tree(pid: int) -> list[int]:
    """Return the process and all that descends from it, parents first."""
    parents = _parents() if has_proc() else _parents_by_ps()
    family = [pid]
    for each in family:
        family += [child for child, parent in parents.items() if parent == each]
    return family


def freeze(pid: int) -> list[int]:
    """
    Stop the process and all its descendants, and return those that run all the same.

    To be called at every look as long as it is to hold: one SIGCONT of a stranger undoes it. A process that has just
    been sent its SIGSTOP may need a moment; one that has become another user's cannot be stopped.
    """
    _send(pid, signal.SIGSTOP)  # Before anything else: looking for the others takes a moment.
    stopped: set[int] = {pid}
    for _ in range(_WALKS):
        fresh = [each for each in tree(pid) if each not in stopped]
        if not fresh:
            break
        for each in fresh:
            _send(each, signal.SIGSTOP)
        stopped.update(fresh)
    return [each for each in sorted(stopped) if _runs(each)]


def thaw(pid: int) -> None:
    """Let the process and all its descendants go on, children first."""
    for each in reversed(tree(pid)):
        _send(each, signal.SIGCONT)


def kill(pid: int) -> None:
    """SIGKILL the process, then all that descended from it."""
    for each in tree(pid):
        _send(each, signal.SIGKILL)


def interrupt(pid: int) -> bool:
    """
    Send a SIGINT to the process alone; return whether it has one that waits for it, or was sent one. The caller counts.
    """
    return has_pending_stop(pid) or _send(pid, signal.SIGINT)


def has_pending_stop(pid: int) -> bool:
    """
    Whether a SIGINT or SIGTERM waits for a process: one that is stopped, or has not yet begun to run a program.

    It has had its one signal then. Where there is no /proc, nobody knows: False.
    """
    return not {signal.SIGINT, signal.SIGTERM}.isdisjoint(_signals(pid, b"SigPnd:", b"ShdPnd:"))


def ignores(pid: int, number: int) -> bool:
    """Whether a process ignores this signal. Where there is no /proc, nobody knows: False."""
    return number in _signals(pid, b"SigIgn:")


def is_anothers(pid: int) -> bool:
    """Whether a process is another user's, so that we cannot signal it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def name_of(pid: int) -> str:
    """What a process calls itself, without its arguments: they may hold secrets."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _signals(pid: int, *lines: bytes) -> set[int]:
    """The signals in these lines of the process's status."""
    found = 0
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(lines):
                found |= int(line.split()[1], 16)
    return {number for number in range(1, 65) if found >> (number - 1) & 1}


def _runs(pid: int) -> bool:
    found = stat(pid)
    return found is not None and found.state not in _STILL and not (found.state == "D" and _waits_in_vfork(pid))


def _waits_in_vfork(pid: int) -> bool:
    """
    Whether a process waits, as shells do, for a child that has not begun its own program yet: it cannot stop, nor do
    anything. If that child has been stopped, it waits as long as that is; its own SIGSTOP is pending then.
    """
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return file.read() in _VFORKS
    except (OSError, ValueError):
        return False


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal() and (found := stat(int(name))) is not None:
                parents[int(name)] = found.parent
    return parents


def _parents_by_ps() -> dict[int, int]:
    """The same where there is no /proc; none where there is no `ps` either, as in a bare container."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        listed = subprocess.run(["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, check=True, timeout=5)
        return {int(line.split()[0]): int(line.split()[1]) for line in listed.stdout.splitlines()}
    return {}


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _answers(pid: int) -> bool:
    return _send(pid, 0) or is_anothers(pid)
