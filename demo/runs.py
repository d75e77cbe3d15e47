"""A run of the demo: a real tfguard in a session of its own, what it says, and how the whole of it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Nothing here takes so long, however slow the machine.
PATIENCE_SECONDS = 60.0
_SCANS = 5


class Stuck(Exception):
    """What should have happened by now has not; the message says what."""


class Run:
    """One tfguard at work. Each line that it says, on stdout or stderr, is handed to `hear` as it comes."""

    def __init__(
        self, name: str, argv: Sequence[str], directory: Path, environ: Mapping[str, str], hear: Callable[[str], None]
    ) -> None:
        self.name = name
        self._hear = hear
        self._said: list[str] = []
        self._changed = threading.Condition()
        self._is_silent = False
        self.process = subprocess.Popen(
            list(argv),
            cwd=directory,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_it_says(self, *words: str) -> None:
        """Wait for a line with one of these words. Raises Stuck."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_silent or self._has_said(words), PATIENCE_SECONDS)
            if not self._has_said(words):
                raise Stuck(f"{self.name} has not said {' or '.join(map(repr, words))}: {' / '.join(self._said[-5:])}")

    def wait(self) -> None:
        """Wait until it has ended well. Raises Stuck."""
        try:
            status = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Stuck(f"{self.name} has not ended") from error
        self._reader.join(PATIENCE_SECONDS)
        if status:
            raise Stuck(f"{self.name} has ended with exit {status}: {' / '.join(self._said[-5:])}")

    def kill_all(self) -> int:
        """Kill it and all that descends from it, as the end of a machine would; return how many that were."""
        killed = kill_family(self.process.pid)
        self.process.wait()
        return killed

    def _has_said(self, words: Sequence[str]) -> bool:
        return any(word in line for line in self._said for word in words)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip()
                with self._changed:
                    self._said.append(line)
                    self._changed.notify_all()
                self._hear(line)
        with self._changed:
            self._is_silent = True
            self._changed.notify_all()


def kill_family(pid: int) -> int:
    """
    Kill a process and its descendants with SIGKILL; return how many.

    All of them are stopped first: whoever sees another die would act on it, and nobody acts when a machine dies.
    """
    family = [pid]
    for _ in range(_SCANS):
        _signal(family, signal.SIGSTOP)
        found = _descendants(pid)
        if found == family:
            break
        family = found
    _signal(family, signal.SIGKILL)
    return len(family)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:  # It grows as we go.
        found += sorted(children.get(each, ()))
    return found


def _parents() -> list[tuple[int, int]]:
    """Every process with its parent: from /proc, else from ps."""
    if not os.path.exists("/proc/self/stat"):
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        return [(int(pid), int(parent)) for pid, parent in map(str.split, listed.splitlines())]
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            # After the name, which may hold anything, comes the state, then the parent.
            stat = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        found.append((int(name), int(stat[1])))
    return found
