"""Terminals that a test has opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pexpect
import psutil

from tests.support import trees


def close_all(opened: Iterable[pexpect.spawn]) -> None:
    """Close them, and end what runs in them."""
    for terminal in opened:
        with contextlib.suppress(psutil.Error):
            trees.kill(psutil.Process(terminal.pid).children(recursive=True))
        terminal.close(force=True)
