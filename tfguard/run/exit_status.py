"""How a program of ours ended (-n: signal n), as a shell would see it, and what we do then."""

from __future__ import annotations

from tfguard.process.inherited import STOPS


def shell_status(status: int) -> int:
    """Return the status that a shell gives to a program that ended so."""
    return status if status >= 0 else 128 - status


def signal_to_die_of(status: int) -> int:
    """Return the signal that we die of too, so that an outer shell stops; 0 where the program was not asked to stop."""
    return -status if -status in STOPS else 0
