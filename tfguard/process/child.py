"""
The Terraform process, as its parent sees it: start, signal, freeze, kill, exit status.

| what         | to whom               | why                                                                   |
|--------------|-----------------------|-----------------------------------------------------------------------|
| SIGINT       | the child's pid alone | its group holds providers, and programs that a SIGINT would break off |
| SIGSTOP/CONT | it and its descendants | nothing of it may write while nobody knows who holds the lock        |
| SIGKILL      | it and its descendants | only when another holds the lock, or an orphan outlived its time     |

Not promised: a descendant that has left the tree (its parent died) is out of reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

_SHIM = Path(__file__).with_name("shim.py")
#: A tree that forks while we stop it is walked again, this often at most.
_WALKS = 5


class Process(Protocol):
    """What the keeper needs of a child, its own or an inherited one."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status (-n: signal n) once the process is gone."""
        ...


class Child:
    """A child of ours, watched by our sentinel from before its exec."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        directory: str,
        environ: Mapping[str, str],
        group: int,
        stdio: Sequence[int],
        sentinel: int,
    ) -> None:
        """
        Start `argv` in `directory`; `group` 0 gives it a process group of its own, `sentinel` is the sentinel's
        descriptor. Raises OSError.
        """
        stdin, stdout, stderr = stdio
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SHIM), str(group), str(os.getpid()), str(sentinel), *argv],
            pass_fds=[sentinel],
            cwd=directory,
            env=dict(environ),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()


class AdoptedChild:
    """A child that the front has inherited from a dead keeper: the front reaps it, we watch and signal it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_reaped = False
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """0 once it is gone: its real status is the front's to know."""
        if self.is_reaped or self._process is None:
            return 0
        with contextlib.suppress(psutil.Error):
            if self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        return 0


def interrupt(process: Process) -> None:
    """Send the one SIGINT, to the pid. The caller counts."""
    _signal(process.pid, signal.SIGINT)


def freeze(process: Process) -> None:
    """SIGSTOP the process and all its descendants, parents first, until no new one turns up."""
    stopped: set[int] = set()
    for _ in range(_WALKS):
        fresh = [pid for pid in _tree(process.pid) if pid not in stopped]
        if not fresh:
            return
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)
        stopped.update(fresh)


def thaw(process: Process) -> None:
    """SIGCONT the process and all its descendants, children first."""
    for pid in reversed(list(_tree(process.pid))):
        _signal(pid, signal.SIGCONT)


def kill(process: Process) -> None:
    """SIGKILL the process, then all that descended from it."""
    for pid in list(_tree(process.pid)):
        _signal(pid, signal.SIGKILL)


def highest_pid(process: Process) -> int:
    """The highest PID of the process and all its descendants."""
    return max(_tree(process.pid))


def spawned_by(keeper: int) -> int:
    """Find the child that a dead keeper left to us without having told of it; 0 if there is none."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            is_ours = process.pid == keeper or "sentinel.py" in " ".join(process.cmdline())
            is_shim_or_sentinel = process.status() == psutil.STATUS_ZOMBIE and process.name().startswith("python")
            if not is_ours and not is_shim_or_sentinel:
                return process.pid
    return 0


def let_go_of_stdio() -> None:
    """Let go of the terminal or the CI's pipe: whoever holds it open keeps the job's step from ending."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(psutil.Error):
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
