"""The clocks of this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timezone
from pathlib import Path

import pytest

from tfguard import clock
from tfguard.clock import SystemClock, boot_id, is_gone, own_mark


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere CLOCK_MONOTONIC counts suspension itself")
def test_boottime_counts_suspension(monkeypatch):
    """P3: a monotonic clock stands still while a laptop sleeps."""
    asked = []
    monkeypatch.setattr(time, "clock_gettime", lambda which: asked.append(which) or 1.0)

    SystemClock().boottime()

    assert asked == [time.CLOCK_BOOTTIME]


def test_boottime_never_goes_back():
    machine = SystemClock()

    instants = [machine.boottime() for _ in range(100)]

    assert instants == sorted(instants)


def test_boottime_is_one_clock_for_all_processes_of_a_boot():
    before = time.clock_gettime(clock._CLOCK)
    now = SystemClock().boottime()

    assert 0 <= now - before < 60


def test_wall_time_is_utc():
    assert SystemClock().now().tzinfo is timezone.utc


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names its boots")
def test_a_boot_has_one_name():
    assert boot_id() == boot_id() != ""


def test_a_machine_that_does_not_name_its_boots_gives_an_empty_name(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", absent)

    assert boot_id() == ""


def test_a_process_is_gone_only_where_that_can_be_seen() -> None:

    ours = own_mark()
    code = "import sys; sys.path.insert(0, sys.argv[1]); from tfguard.clock import own_mark; print(own_mark())"
    root = str(Path(__file__).resolve().parent.parent)
    other = subprocess.run(
        [sys.executable, "-c", code, root], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert not is_gone(ours)
    assert is_gone(other) and other != ours
    assert is_gone(f"{ours}0")
    for elsewhere in (f"x{ours}", "pid:[1]/1/1", "", "//", "a/b/c", f"{ours}/1", "pid:[1]/99999999999/1"):
        assert not is_gone(elsewhere)
