"""
The one line that tells on a terminal where we stand in the line of those who wait, kept up to date in place.

rich is imported when the first line is shown: nobody who does not wait on a terminal pays for it.
"""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, Any, cast

from tfguard import redaction
from tfguard.lock import protocol
from tfguard.outlet import write_to_stderr
from tfguard.report.messages.waiting import live_line

if TYPE_CHECKING:
    from tfguard.clock import Clock

_REFRESH_PER_SECOND = 2
#: What stands before the words: a sign of two columns, and a blank.
_MARK_COLUMNS = 3


class _Stderr(io.TextIOBase):
    """The terminal at stderr, on which a line may stand still (Ctrl-S) and hold nobody up."""

    def write(self, text: str) -> int:
        write_to_stderr(text)
        return len(text)

    def isatty(self) -> bool:
        return os.isatty(2)

    def fileno(self) -> int:
        return 2


class LiveLine:
    """One line at the bottom of the terminal, on stderr. Its ages go on by themselves; it leaves nothing behind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._live: Any = None
        self._label = ""
        self._message: protocol.Waiting | None = None

    def show(self, label: str, message: protocol.Waiting) -> None:
        """Show the line, or what has become of it."""
        self._label, self._message = label, message
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._render,
                console=Console(file=cast("IO[str]", _Stderr())),
                refresh_per_second=_REFRESH_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def hide(self) -> None:
        """Take the line away, before anything else is written."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Any:
        from rich.text import Text

        text = ""
        if self._message is not None:
            columns = self._live.console.width - _MARK_COLUMNS if self._live is not None else 0
            text = "⏳ " + redaction.redact(live_line(self._label, self._message, self._clock.now(), columns))
        return Text(text, no_wrap=True, overflow="ellipsis")
