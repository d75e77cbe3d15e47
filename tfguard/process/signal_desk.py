"""Where a front's signals arrive: the first asks the run to stop, and here it becomes what the keeper is told."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tfguard.clock import Clock
from tfguard.errors import Interrupted
from tfguard.guard import messages
from tfguard.guard.signals import Received, reaction
from tfguard.process.signals import SignalListener

#: "Interrupt received" this close to a signal of ours belongs to it.
HEARD_SECONDS = 3.0
#: From this Ctrl-C on we leave, whatever is left to do.
_LEAVING_COUNT = 4


class SignalDesk:
    """
    Counts the signals of one run. `stopped_by` is the first.

    `shares_terminal`: Terraform gets the terminal's keys itself.
    """

    def __init__(self, clock: Clock, on_defect: Callable[[BaseException], object], *, shares_terminal: bool) -> None:
        self.stopped_by: Received | None = None
        self.count = 0
        self._clock = clock
        self._shares_terminal = shares_terminal
        self._listener = SignalListener(on_defect)
        self._stopped_at = 0.0
        self._heard_at = -HEARD_SECONDS

    def fileno(self) -> int:
        return self._listener.fileno()

    def take(self) -> list[Received]:
        """Return what has arrived since the last call."""
        return self._listener.take()

    def note(self, received: Received) -> bool:
        """Count a signal. Return whether it is the first, of which the keeper has to be told."""
        self.count += 1
        if self.stopped_by is not None:
            return False
        self.stopped_by = received
        self._stopped_at = self._clock.boottime()
        return True

    def hear_child(self) -> bool:
        """The child has said "Interrupt received". Return whether that was for a signal that we have had too."""
        self._heard_at = self._clock.boottime()
        return self.stopped_by is not None and self._heard_at - self._stopped_at < HEARD_SECONDS

    def interrupt(self) -> messages.Interrupt | None:
        """Return what a keeper has to be told of the first signal, None if there was none."""
        received = self.stopped_by
        if received is None:
            return None
        has_heard = self._clock.boottime() - self._heard_at < HEARD_SECONDS
        found = reaction(received, shares_terminal=self._shares_terminal, has_child_heard=has_heard)
        return messages.Interrupt(
            reason="our parent died" if received.is_parent_death else signal.Signals(received.number).name,
            is_delivered=found.is_delivered,
            grace_seconds=found.grace_seconds,
        )

    def has_waited(self, seconds: float) -> bool:
        """Whether so much time has passed since the first signal."""
        return self.stopped_by is not None and self._clock.boottime() - self._stopped_at > seconds

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.stopped_by is not None:
            name = signal.Signals(self.stopped_by.number).name
            raise Interrupted(f"stopped by {name}", signal_number=self.stopped_by.number)

    def check_leaving(self, received: Received) -> None:
        """Raise Interrupted at the fourth Ctrl-C."""
        if self.count >= _LEAVING_COUNT and received.is_from_terminal:
            raise Interrupted("left at the fourth Ctrl-C", signal_number=received.number)
