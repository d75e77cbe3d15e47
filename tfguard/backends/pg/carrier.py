"""
The connection that carries Terraform's lock, at our end: one after another, and each is silent.

It may end without a word: a cable is pulled, a gateway forgets it, and the server lets go of a lock that we believe to
have. What is bounded, where T is the lease:

    who finds out                by what                                             within
    ---------------------------  --------------------------------------------------  ------------------------
    our end, of an end           the socket ends; the answer to a probe says so      at once; T/18
    our end, of a silence        no probe is answered: it is taken again elsewhere   T · 3/4, before the server
    a beat                       no session of our name has the lock in the server   a heartbeat: T/18
    the server, of our silence   no probe is answered: it ends the session           T to T · 10/9, never sooner

The last is counted from when we were cut off, not from the last probe that was answered. By then the child is frozen.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfguard import threads
from tfguard.backends.net import times
from tfguard.backends.pg.client import Connection
from tfguard.errors import Conflict, StoreMisconfigured, StoreUnavailable, TfguardError

if TYPE_CHECKING:
    from tfguard.backends.pg.spec import PgSpec

#: What a session that carries a lock is called, before the lock's ID.
NAME = "tfguard "
#: How long a session that was ended may take to let its lock go, in seconds.
END_SECONDS = 2.0
#: The share of a lease after which a silent end is asked whether it is there.
_PROBE = 1 / 18
#: The share of a lease after which we give up a server that answers no probe: it has not given us up by then.
_SILENCE = 3 / 4
#: How often one tries again to have a lock whose holder is about to end, in seconds.
_AGAIN_SECONDS = 0.02


class Carrier:
    """
    Whichever session holds the lock for us: one that we have opened, or one whose descriptor a predecessor left to us.

    `states` is the table of Terraform's states, as it stands in a statement; `place` names the lock for people.
    """

    def __init__(self, spec: PgSpec, states: str, place: str, descriptor: int = -1) -> None:
        self._spec = spec
        self._states = states
        self._place = place
        self._session: Connection | None = None
        self._left = descriptor
        self._tell: Callable[[], None] | None = None
        self._is_creating = False
        self._has_ended = False
        #: Whether its end is no news: we are about to end it ourselves.
        self.is_leaving = False
        #: How many there have been.
        self.count = 0

    @property
    def is_open(self) -> bool:
        """Whether there is one at our end."""
        return self._session is not None or self._left >= 0

    @property
    def has_ended(self) -> bool:
        """Whether the one that we had has ended, as far as we have heard, and no other is in its place."""
        return self._has_ended

    def fileno(self) -> int:
        """Its socket's descriptor, -1 where there is none."""
        if self._left >= 0:
            return self._left
        return self._session.fileno() if self._session is not None else -1

    def take(self, lock_id: str, lease_seconds: float, *, is_ending: bool = False) -> None:
        """
        Take the lock on a new session. `is_ending`: who holds it was told to end just now.

        Raises Conflict, and as a store does.
        """
        self.drop()
        session = Connection(
            self._spec.pg, NAME + lock_id, kept_for(lease_seconds), is_one=True, probes=given_up_after(lease_seconds)
        )
        try:
            if session.is_pooled():
                raise StoreMisconfigured(
                    f"A pooler answers at {self._spec.pg.place}: there Terraform's own lock may keep nobody out.",
                    "Name the server itself in `conn_str`, by its own port.",
                )
            until = time.monotonic() + (END_SECONDS if is_ending else 0.0)
            while not self._try_lock(session):
                if time.monotonic() >= until:
                    raise Conflict(self._place)
                time.sleep(_AGAIN_SECONDS)
        except BaseException:
            session.close()
            raise
        self._session = session
        self._has_ended = self.is_leaving = False
        self.count += 1
        self._watch()

    def drop(self) -> None:
        """Close our end, if there is one."""
        session, self._session = self._session, None
        self._is_creating = False
        if session is not None:
            session.close()
        if self._left >= 0:
            os.close(self._left)
            self._left = -1

    # --- its end ------------------------------------------------------------------------------------------------

    def on_end(self, tell: Callable[[], None]) -> None:
        """As a `Carried` store has it."""
        self._tell = tell
        self._watch()

    def end(self) -> None:
        """It has ended, or may have: say so, once, before anything else is done about it."""
        if not self._has_ended:
            self._has_ended = True
            if self._tell is not None:
                self._tell()

    def _watch(self) -> None:
        """Let a thread wait for its end."""
        tell, descriptor, session, left = self._tell, self.fileno(), self._session, self._left
        if tell is None or descriptor < 0:
            return
        watched = os.dup(descriptor)

        def wait() -> None:
            try:
                poll = select.poll()
                # Not for something to read: a server tells of settings that have changed.
                poll.register(watched, getattr(select, "POLLRDHUP", 0))
                poll.poll()
            finally:
                os.close(watched)
            if self._session is session and self._left == left and not self.is_leaving:
                self.end()

        threads.start("carrier", wait, on_defect=lambda _: tell())

    # --- Terraform's lock ---------------------------------------------------------------------------------------

    def _try_lock(self, session: Connection) -> bool:
        """Try as Terraform does; look for the row once more while nobody can make it."""
        if session.ask("SELECT pg_try_advisory_lock(-1)")[0][0] != "t":
            return False
        number = self.number(session)
        self._is_creating = number is None
        if number is None:
            if self._spec.name == "default":
                return True
            session.ask("SELECT pg_advisory_unlock(-1)")
            raise StoreMisconfigured(
                f"{self._place}: there is no such workspace.", "Make it: tfguard workspace new, then try again."
            )
        got = session.ask("SELECT pg_try_advisory_lock($1::bigint), pg_advisory_unlock(-1)", [number])
        return got[0][0] == "t"

    def give_back_creation(self, statements: Connection, lease_seconds: float) -> None:
        """Once our child has made the row, take its number and let the others create theirs."""
        session = self._session
        if not self._is_creating or session is None:
            return
        # To give up the connection would give up the lock; to wait for longer would leave out beats.
        seconds = max(times.BEAT.read, lease_seconds * _PROBE)
        with contextlib.suppress(TfguardError):  # It is held as it was.
            number = self.number(statements)
            if number is None:
                return
            try:
                if session.ask("SELECT pg_try_advisory_lock($1::bigint)", [number], seconds=seconds)[0][0] == "t":
                    self._is_creating = False
                    session.ask("SELECT pg_advisory_unlock(-1)", seconds=seconds)
            except StoreUnavailable:
                self.end()

    def number(self, connection: Connection) -> str | None:
        """The number of the lock: that of Terraform's row, None where there is none."""
        found = connection.ask(f"SELECT id FROM {self._states} WHERE name = $1", [self._spec.name], about="states")
        return found[0][0] if found else None


def kept_for(lease_seconds: float) -> dict[str, str]:
    """
    Settings by which the server lets a session go that it no longer hears of: not before a lease has passed.

    It counts from the last answer to a probe, which may be as old as the pause between two.
    """
    probe = _probe_seconds(lease_seconds)
    return {
        "tcp_keepalives_idle": str(probe),
        "tcp_keepalives_interval": str(probe),
        "tcp_keepalives_count": str(-(-round(lease_seconds) // probe)),
        "tcp_user_timeout": str(round(lease_seconds + probe) * 1000),
        "idle_session_timeout": "0",
    }


def given_up_after(lease_seconds: float) -> dict[str, str]:
    """Parameters by which our end of a connection ends, if its other end answers nothing any more."""
    probe, silence = _probe_seconds(lease_seconds), lease_seconds * _SILENCE
    return {
        "keepalives": "1",
        "keepalives_idle": str(probe),
        "keepalives_interval": str(probe),
        "keepalives_count": str(max(1, round(silence / probe) - 1)),
        "tcp_user_timeout": str(round(silence * 1000)),
    }


def _probe_seconds(lease_seconds: float) -> int:
    return max(1, round(lease_seconds * _PROBE))
