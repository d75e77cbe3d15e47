"""A run that has ended, in words. Its facts are those of `history --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.text import printable


def ending(run: Mapping[str, Any], longest: int = 60) -> str:
    """Say how it ended; a stranger's words in it have `longest` signs at most."""
    if run["unlocked_by"]:
        why = f" ({printable(run['reason'], longest)})" if run["reason"] else ""
        return f"unlocked by {printable(run['unlocked_by'], longest)}{why}"
    status = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    return f"{printable(run['outcome'], 30)}{status}"
