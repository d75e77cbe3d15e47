"""What a signal means: who else has had it, and so whether, and when, Terraform is to be sent its one SIGINT."""

from __future__ import annotations

import signal

import msgspec


class Received(msgspec.Struct, frozen=True):
    """One signal. `is_from_terminal`: the kernel sent it to the whole foreground group."""

    number: int
    is_from_terminal: bool = False
    is_parent_death: bool = False


class Reaction(msgspec.Struct, frozen=True):
    """What becomes of a first signal: whether Terraform has had its own, else how long to wait before our SIGINT."""

    is_delivered: bool
    grace_seconds: float = 0.0


#: (signal, who sent it) → what Terraform gets. The table in `process.signals`, as data. *beside*: a process, while
#: Terraform is in our own group; it may have signalled all of that.
REACTIONS: dict[tuple[int, str], Reaction] = {
    (signal.SIGINT, "terminal"): Reaction(is_delivered=True),
    (signal.SIGQUIT, "terminal"): Reaction(is_delivered=True),
    (signal.SIGTERM, "process"): Reaction(is_delivered=False, grace_seconds=1.0),
    (signal.SIGTERM, "beside"): Reaction(is_delivered=False, grace_seconds=1.0),
    (signal.SIGINT, "beside"): Reaction(is_delivered=False, grace_seconds=1.0),
}


#: Long enough to learn whether the keeper has had it as well: then the child had it too, and tells.
_SOON = Reaction(is_delivered=False, grace_seconds=0.25)


def reaction(received: Received, *, shares_terminal: bool, has_child_heard: bool) -> Reaction:
    """Look up what to do at the first signal. `has_child_heard`: the child has just said so."""
    if has_child_heard:
        return Reaction(is_delivered=True)
    if received.is_parent_death:
        return _SOON
    sender = "process"
    if shares_terminal:
        sender = "terminal" if received.is_from_terminal else "beside"
    return REACTIONS.get((received.number, sender), _SOON)
