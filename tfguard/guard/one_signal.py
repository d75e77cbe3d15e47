"""
The one SIGINT that a child gets on our account: who asks for it, when it is sent, and when the child has had it before.

Pure, as the rules that use it. The counter itself is the watchdog's, which asks for a SIGINT too.
"""

from __future__ import annotations

from collections.abc import Callable

from tfguard.guard.hands import ChildPort
from tfguard.guard.telling import Telling
from tfguard.guard.watchdog import Watchdog

#: Whoever signals every process signals us and the child at almost the same time. A child whose output we see says so
#: within this long, in seconds.
SHARED_SECONDS = 4.0


class OneSignal:
    """
    The one SIGINT of the program at hand. Instants are boottime.

    `watchdog` gives the one that watches now. `on_deaf` hears of a child that is another user's, and so deaf to us.
    """

    def __init__(
        self,
        child: ChildPort,
        telling: Telling,
        watchdog: Callable[[], Watchdog],
        on_deaf: Callable[[float], None],
    ) -> None:
        self._child = child
        self._telling = telling
        self._watchdog = watchdog
        self._on_deaf = on_deaf
        #: When it is to be asked for, if not before.
        self.at: float | None = None
        self._reason = ""
        self._signalled_at = float("-inf")
        self._is_child_seen = False

    def begin(self, *, is_child_seen: bool) -> None:
        """A program starts, which has had none; `is_child_seen`: what it prints comes by us."""
        self._is_child_seen = is_child_seen
        self._signalled_at = float("-inf")

    def clear(self) -> None:
        """The program is gone."""
        self.at = None

    def note_own(self, now: float) -> None:
        """We ourselves have had a signal while it runs: so has the child, most likely."""
        self._signalled_at = now

    def ask_at(self, at: float, reason: str) -> None:
        """Ask for it then."""
        self.at, self._reason = at, reason

    def enforce(self, now: float) -> None:
        """Ask for it if it is time to."""
        if self.at is not None and now >= self.at:
            self.at = None
            self.ask(self._reason, now)

    def ask(self, reason: str, now: float) -> None:
        """
        Send it, unless the child has most likely had the signal that we have had.

        One whose output is relayed would say so: if it does not in time, it has had none. Of any other, nobody knows;
        there is a person at its terminal, and a second signal costs more than a cancel that has to be repeated.
        """
        if now >= self._signalled_at + SHARED_SECONDS:
            self.send_once(reason, now)
        elif self._is_child_seen:
            self.ask_at(self._signalled_at + SHARED_SECONDS, reason)
        else:
            self.spare()

    def send_once(self, reason: str, now: float) -> None:
        """Send it, unless it was sent or delivered before."""
        if self._watchdog().interrupt_once():
            self.send(reason, now)

    def send(self, reason: str, now: float) -> None:
        """Send what the watchdog has counted already."""
        is_sent = self._child.interrupt()
        if self._child.is_anothers():  # It hears nothing of us.
            self._on_deaf(now)
        self.spare()
        if is_sent:
            self._telling.say("child.signalled", now - self._watchdog().base, reason)

    def spare(self) -> None:
        """The child has had its one signal, from us or from whomever: nobody of ours sends another."""
        self._watchdog().is_interrupted = True
        self._child.spare()
