"""What the oldest Python that we run on does not have yet."""

from __future__ import annotations

from typing import NoReturn


def assert_never(value: NoReturn) -> NoReturn:
    """Close a `match`: mypy refuses it where a case is missing. `typing` has it from Python 3.11 on."""
    raise AssertionError(f"nobody expects a {type(value).__name__}")
