"""
Where we stand in the line, in words; and the one line that tells it on a terminal, kept up to date in place.

rich is imported when the first line is shown: nobody who does not wait on a terminal pays for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tfguard import redaction
from tfguard.clock import parse_created
from tfguard.durations import spoken_duration
from tfguard.lock import protocol
from tfguard.report.messages import phrases
from tfguard.report.messages.waiting import standing
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.clock import Clock

_WORD = 60
_REFRESH_PER_SECOND = 2


def parts(label: str, message: protocol.Waiting, now: datetime) -> list[str]:
    """The facts of the live line, in their order: label, holder, what he does, for how long, last heartbeat, place."""
    record = message.record
    if record is None or record.info is None or record.lease is None:
        return [label, f"held by {phrases.holder(record, now)}", *_place(message)]
    holder = record.lease.holder
    beat = _age(record.lease.beaten_at, now)
    facts = [
        label,
        f"held by {_word(holder.who)}",
        _word(holder.command),
        _word(holder.run),
        _age(record.info.created, now),
        f"heartbeat {beat} ago" if beat else "",
        *_place(message),
    ]
    return [fact for fact in facts if fact]


def _place(message: protocol.Waiting) -> list[str]:
    text = standing(message)
    return [text[:1].lower() + text[1:]] if text else []


def _word(text: str) -> str:
    return printable(text, _WORD)


def _age(created: str, now: datetime) -> str:
    at = parse_created(created)
    return spoken_duration(max(0.0, (now - at).total_seconds())) if at else ""


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
                console=Console(stderr=True),
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
            text = "⏳ " + redaction.redact(" · ".join(parts(self._label, self._message, self._clock.now())))
        return Text(text, no_wrap=True, overflow="ellipsis")
