"""
One `init` at a time in the plugin cache of a machine: by a lock on a file there, which the kernel ends with its holder.

A help, not a promise: where there can be no such lock (a folder of somebody else's, a file system without), or somebody
takes longer than this run waits for its own lock, `init` runs all the same, as it does without tfguard.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tfguard.clock import SystemClock
from tfguard.process.front import Front
from tfguard.report.messages import starting
from tfguard.run.context import Context

#: A file of ours in the cache. Terraform looks at folders there.
NAME = ".tfguard-init.lock"
#: After so long a person is told what this waits for.
QUIET_SECONDS = 3.0


@contextlib.contextmanager
def cache_turn(front: Front, context: Context, cache: Path | None) -> Iterator[None]:
    """
    Wait until no other init of ours works in `cache`, and keep others out meanwhile. Without a cache: at once.

    Raises:
        Interrupted: A signal ended the wait.
    """
    descriptor = None if cache is None else _open(cache / NAME)
    try:
        if cache is not None and descriptor is not None:
            _wait(front, context, cache, descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait(front: Front, context: Context, cache: Path, descriptor: int) -> None:
    clock = SystemClock()
    began, label = clock.boottime(), context.label()
    is_told = False

    def is_over() -> bool:
        nonlocal is_told
        waited = clock.boottime() - began
        if _try_lock(descriptor):
            return True
        if waited >= context.settings.terms.timeout_seconds:
            context.report.say("warning", "init.delayed", starting.init_without_turn(label, str(cache)), label=label)
            return True
        if waited >= QUIET_SECONDS and not is_told:
            is_told = True
            context.report.say("info", "init.delayed", starting.init_delayed(label, str(cache)), label=label)
        return False

    front.wait(is_over)


def _open(path: Path) -> int | None:
    """Open the file to lock, made if need be; None where that cannot be. Never blocks, and follows no link."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for more in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # Another user's can be locked all the same.
        with contextlib.suppress(OSError):
            return os.open(path, flags | more, 0o644)
    return None


def _try_lock(descriptor: int) -> bool:
    """Whether the turn is ours, or there can be none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
