"""
CI runners, as far as they cancel a job: who is signalled, in which order, how long each is given.

From the runners' sources. Times are those of the platforms, times `SCALE`: a test need not sit out ten
seconds, and what matters is the order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import psutil

SCALE = 0.3


def cancel_on_github(entry: subprocess.Popen[str]) -> None:
    """SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL: all of them to the step's entry process alone."""
    for number, seconds in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 0)):
        if entry.poll() is not None:
            return
        entry.send_signal(number)
        _wait(entry, seconds * SCALE)


def cancel_in_gitlab_shell(entry: subprocess.Popen[str]) -> None:
    """SIGTERM to the script's whole process group; SIGKILL only after ten minutes."""
    os.killpg(entry.pid, signal.SIGTERM)


def cancel_in_gitlab_docker(entry: subprocess.Popen[str]) -> None:
    """SIGTERM to every process but PID 1 (here: the entry), the highest PID first, up to 6 s for each to go."""
    for process in sorted(_tree(entry.pid), key=lambda each: each.pid, reverse=True):
        with contextlib.suppress(psutil.Error):
            process.terminate()
            for _ in range(60):
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    break
                time.sleep(0.1 * SCALE * 3)


def cancel_in_gitlab_kubernetes(entry: subprocess.Popen[str]) -> None:
    """SIGTERM to the direct children of the script's shell."""
    for process in psutil.Process(entry.pid).children():
        process.terminate()


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _wait(entry: subprocess.Popen[str], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        entry.wait(seconds)
