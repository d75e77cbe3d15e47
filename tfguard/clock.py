"""
Time, as the lock needs it.

Deadlines are measured on a clock that counts suspension: a laptop that slept for an hour has not held its lease
meanwhile. Wall-clock time is for people only and is never compared.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from tfguard.text import printable

#: CLOCK_BOOTTIME counts suspension; macOS's CLOCK_MONOTONIC does too. `time.monotonic()` on Linux does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None) or time.CLOCK_MONOTONIC
_IS_LINUX = sys.platform == "linux"
#: A PID namespace, a PID, and when it started.
_MARK = re.compile(r"([^/]*)/([0-9]{1,9})/([^/]+)")


class Clock(Protocol):
    """What the pure core needs of time; the simulation brings its own."""

    def boottime(self) -> float:
        """Seconds since an arbitrary instant, suspension included, never going back."""
        ...

    def now(self) -> datetime:
        """Wall-clock time in UTC, for people."""
        ...


class WaitingClock(Clock, Protocol):
    """A clock that a thread may also wait on: whoever waits, waits through it."""

    def sleep(self, seconds: float) -> None:
        """Rest so long."""
        ...

    def event(self) -> threading.Event:
        """Return an event whose `wait` goes by this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    def boottime(self) -> float:
        return time.clock_gettime(_CLOCK)

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def event(self) -> threading.Event:
        return threading.Event()


def boot_id() -> str:
    """Name this boot of this machine: boot times are comparable only where it is equal. Empty if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Name the PID namespace: PIDs mean something only where it is equal. Empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process_facts(pid: int) -> tuple[str, list[bytes]]:
    """
    Return a process's name, and what stands behind it in /proc/PID/stat: its state, its parent, and so on (proc(5)).

    Both are empty where there is no such process, or no /proc.
    """
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")
    except OSError:
        return "", []
    return os.fsdecode(before.partition(b"(")[2]), after.split()


def started(pid: int) -> str:
    """When a process started, in words that are equal for nobody else; empty if it is gone, or a zombie."""
    if _IS_LINUX:
        _, fields = process_facts(pid)
        return "" if not fields or fields[0] in (b"Z", b"X") else fields[19].decode()
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return ""


@functools.cache
def _mark_of(pid: int) -> str:
    return f"{pid_namespace()}/{pid}/{started(pid)}"


def own_mark() -> str:
    """Name this process, on this boot of this machine: another has never had this name."""
    return _mark_of(os.getpid())


def is_gone(mark: str) -> bool:
    """Whether the process of this `own_mark`, on this boot, lives no more. Not if that cannot be seen from here."""
    match = _MARK.fullmatch(mark)
    return match is not None and match[1] == pid_namespace() and started(int(match[2])) != match[3]


_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)",
)


def created(at: datetime) -> str:
    """Format an instant as Go's RFC3339Nano does: UTC, `Z`, no trailing zeros in the fraction."""
    at = at.astimezone(timezone.utc)
    fraction = f".{at.microsecond:06d}".rstrip("0").rstrip(".")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def shown_instant(at: datetime) -> str:
    """Write an instant for people, the one way in which all our messages do."""
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def shown_created(text: str) -> str:
    """Write a `Created` for people; as it stands there, made printable, if it is none."""
    at = parse_created(text)
    return printable(text, 40) if at is None else shown_instant(at)


def parse_created(text: str) -> datetime | None:
    """Read a `Created`; nanoseconds are cut to microseconds. None where it is not RFC 3339."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    offset = "+00:00" if match[8] in "Zz" else match[8]
    fraction = (match[7] or "")[:6].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{text[:10]}T{text[11:19]}.{fraction}{offset}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
