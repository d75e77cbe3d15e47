"""
What Terraform and OpenTofu print when they have had their first signal, found in whatever they print it into.

Two lines, or one JSON message with `\\n` between them (`-json`); coloured; behind a prefix that a wrapper puts before
each line. The first words alone count at a line's start only: anywhere else they may be somebody's output.
"""

from __future__ import annotations

import re

_COLOUR = rb"(?:\x1b\[[0-9;]*m)*"
#: Up to so many bytes of a prefix before the second line.
_SAID = re.compile(
    rb"\n(?:\x1b\[[0-9;]*m|[ \r])*Interrupt received"
    rb"|Interrupt received\." + _COLOUR + rb"(?:\\+n|\r?\n[^\n]{0,200}?)Please wait for (?:Terraform|OpenTofu) to exit"
)
#: As long as all of it may be: what has come of it so far is kept for the next read.
_KEPT_BYTES = 512


class Ear:
    """Listens to one stream."""

    def __init__(self) -> None:
        self._tail = b"\n"

    def hears(self, data: bytes) -> bool:
        """Whether with this, which follows what was given before, it says that it has had a signal."""
        text = self._tail + data
        found = _SAID.search(text)
        self._tail = text[found.end() if found else 0 :][-_KEPT_BYTES:]
        return found is not None
