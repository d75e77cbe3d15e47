"""How long a server may take. Both times are for one step: to connect, and one read of the answer."""

from __future__ import annotations

from typing import NamedTuple


class Times(NamedTuple):
    """Seconds."""

    connect: float
    read: float


#: For whatever a heartbeat may stand behind: it is given up early, and tried again.
BEAT = Times(2.0, 3.0)
#: For what is asked in a thread of its own, or before anything else: who we are.
SIGN_IN = Times(5.0, 20.0)
