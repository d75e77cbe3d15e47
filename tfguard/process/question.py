"""A question on the terminal, whose answer the front's loop waits for together with everything else."""

from __future__ import annotations

import os

from tfguard.outlet import write_to_stderr

_STDIN = 0
_MAX_BYTES = 4096


class Question:
    """One question. Its loop selects on it, and notes when a line is there."""

    def __init__(self, text: str) -> None:
        self.is_answered = False
        write_to_stderr(text)

    def fileno(self) -> int:
        return _STDIN

    def read(self) -> str:
        """Return the line, empty where the terminal was closed."""
        return os.read(_STDIN, _MAX_BYTES).decode("utf-8", "replace").strip()
