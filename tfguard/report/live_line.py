"""
Where we stand in the line, in words; and the one line that tells it on a terminal, kept up to date in place.

rich is imported when the first line is shown: nobody who does not wait on a terminal pays for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tfguard.durations import spoken_duration
from tfguard.guard import messages
from tfguard.lock.lockinfo import parse_created, printable
from tfguard.report import log
from tfguard.report.messages import phrases

if TYPE_CHECKING:
    from tfguard.clock import Clock

_WORD = 60
_REFRESH_PER_SECOND = 2


def standing(message: messages.Waiting) -> str:
    """Say what place we have, and how long it may take: `You are 2nd of 5; the last runs held it for about 3 min`."""
    place = f"You are {ordinal(message.place)} of {message.length}" if message.place else ""
    usual = f"the last runs held it for about {_about(message.usual_seconds)}" if message.usual_seconds else ""
    text = "; ".join(part for part in (place, usual) if part)
    return text[:1].upper() + text[1:]


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 < number % 100 < 14 else endings.get(number % 10, 'th')}"


def _about(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def parts(label: str, message: messages.Waiting, now: datetime) -> list[str]:
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


def _place(message: messages.Waiting) -> list[str]:
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
        self._message: messages.Waiting | None = None

    def show(self, label: str, message: messages.Waiting) -> None:
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
            text = "⏳ " + log.redact(" · ".join(parts(self._label, self._message, self._clock.now())))
        return Text(text, no_wrap=True, overflow="ellipsis")
