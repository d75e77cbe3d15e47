"""
Our place in the line for one lock: whose turn it is, and when to look again.

The order is a courtesy among tfguards, kept in the queue record: a plain Terraform does not know of it, and where the
record cannot be had we poll with jitter and no order. Who may *hold* the lock is decided by the lock record alone.

Three rules carry it:

* **A waiter of rank r** (0: the head) may try once it has seen the lock free for r seconds, and for no more than
  `PATIENCE_SECONDS`. So a dead head stalls nobody, nor does a line that somebody has made up. A waiter that was
  passed over is taken out of the line, and comes back under its old number if it lives.
  Not promised: behind several dead waiters the living look at different instants, more rarely the further back they
  stand, so one of them may overtake another once.
* **A newcomer that finds the lock free looks at the line before it takes the lock.** Between a release and the head's
  next look there is up to a quarter of a second, in which it would overtake. This look costs nothing: its fencing
  token is in the same record, so it would have read the record right afterwards anyway. Without a line that is one
  look at the lock, no ticket, and not one request more than without lines.
* **At its deadline** a waiter tries whatever its place, rather than give up in front of a free lock. With
  `-lock-timeout=0` the first look is the deadline.
"""

from __future__ import annotations

from tfguard.clock import Clock
from tfguard.lock.deadlines import jittered
from tfguard.lock.protocol import Order
from tfguard.lock.queue import Queue
from tfguard.lock.queue_record import QueueState, Ticket, View

#: The head of the line looks at the lock this often, in seconds; each place behind adds as much.
HEAD_SECONDS = 0.25
#: Nobody in line looks more rarely than this, unless the store throttles us.
MAX_SECONDS = 5.0
#: How long each living waiter ahead is given to take a free lock, in seconds.
TURN_SECONDS = 1.0
#: Whatever the line says, nobody leaves a free lock alone for longer, in seconds: those ahead are not there.
PATIENCE_SECONDS = 15.0
#: Looks further apart than this, in seconds, do not show that the lock was free in between.
_UNBROKEN_SECONDS = 2.0
#: What was read of the line longer ago than this, in seconds, does not decide who takes a free lock.
_FRESH_SECONDS = 0.5
#: After the lock has changed hands the line is read at as many looks, unless we have moved up before.
_LOOKS_AFTER_CHANGE = 2
#: How stale a place far back may be, in seconds; nearer the head it is a third of a second for each place.
_MAX_STALE_SECONDS = 20.0
#: Without a line one looks this often, in seconds: as a newcomer, and after `_AGED_SECONDS` of waiting. One that has
#: waited longer looks more often, which is half of what a line gives.
_UNPLACED_SECONDS = (1.5, 0.5)
_AGED_SECONDS = 300.0
_UNPLACED_JITTER = 0.4


class _FreeSpell:
    """For how long the lock has been seen free, look after look; `seconds` is None as long as it was not."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._since = self._seen_at = float("-inf")

    def see(self, now: float) -> float:
        """A look has shown the lock free; return for how long it has been by now."""
        if now - self._seen_at > _UNBROKEN_SECONDS:
            self._since = now
        self._seen_at = now
        self.seconds = now - self._since
        return self.seconds


class Turn:
    """
    One waiter's place. `ticket` is its own; with `order` *none* it never stands in line.

    Tell it what each look showed (`see_busy`, `see_free`, `see_nothing`); ask it `may_try` and `pause`.
    """

    def __init__(self, queue: Queue, ticket: Ticket, clock: Clock, order: Order = "fifo") -> None:
        self.passed: tuple[str, ...] = ()
        self._queue = queue
        self._ticket = ticket
        self._clock = clock
        self._order = order
        self._view = View()
        self._started_at = clock.boottime()
        self._holder = ""
        self._stale_looks = 0
        self._has_asked = False
        self._heard_at = float("-inf")
        self._read_at = float("-inf")
        self._signed_at = float("-inf")
        self._forgiven_at = float("-inf")
        self._free = _FreeSpell()

    # --- what is known ------------------------------------------------------------------------------------------

    @property
    def is_kept(self) -> bool:
        """Whether there is an order that we could know of."""
        return self._order == "fifo" and not self._queue.is_off

    @property
    def has_place(self) -> bool:
        """Whether our ticket is in the line, as far as we know."""
        return self.is_kept and self._view.state.ticket(self._ticket.id) is not None

    @property
    def rank(self) -> int:
        """How many living waiters are ahead of us."""
        return len(self._view.ahead_of(self._ticket.id, self._clock.boottime()))

    @property
    def is_next(self) -> bool:
        """Whether nobody is ahead of us, as far as we know: also where there is no order."""
        return not self.is_kept or (self.has_place and self.rank == 0)

    @property
    def length(self) -> int:
        """How many living waiters there are."""
        return len(self._view.living(self._clock.boottime()))

    @property
    def usual_seconds(self) -> float | None:
        """For how long the last runs held the lock; None if that is not known."""
        return self._view.state.usual_seconds()

    # --- what a look showed -------------------------------------------------------------------------------------

    def see_busy(self, holder: str) -> None:
        """
        A look has shown the lock held: take a ticket, sign, and find out our place when it may have changed.

        `holder` is any text that is the same as long as the same run holds it.
        """
        self._free = _FreeSpell()
        self._heard_at = now = self._clock.boottime()
        if not self.is_kept:
            return
        if not self.has_place:
            self._join()
        elif now - self._signed_at >= jittered(self._view.sign_seconds):
            self._sign()
        if holder != self._holder != "":
            self._stale_looks = _LOOKS_AFTER_CHANGE
        self._holder = holder
        if self._stale_looks and now - self._read_at >= min(self.rank / 3, _MAX_STALE_SECONDS):
            self._read_after_change()

    def see_nothing(self, error: Exception) -> None:
        """A look had no answer."""
        self._free = _FreeSpell()
        self._queue.note(error)
        self._forgive_since(self._heard_at)

    def may_try(self, *, is_last: bool = False) -> bool:
        """A look has shown that the lock could be taken: whether it is our turn. `is_last`: our time is up."""
        self._heard_at = now = self._clock.boottime()
        free_seconds = self._free.see(now)
        self.passed = ()
        if is_last or not self.is_kept or (self.has_place and self.rank == 0):
            return True
        if self._stale_looks or now - self._read_at > _FRESH_SECONDS:
            self._read()
        ahead = self._view.ahead_of(self._ticket.id, now)
        if ahead and not self.has_place:
            self._join()
            ahead = self._view.ahead_of(self._ticket.id, now)
        if free_seconds < min(len(ahead) * TURN_SECONDS, PATIENCE_SECONDS):
            return False
        self.passed = tuple(ticket.id for ticket in ahead)
        return True

    # --- when to look again -------------------------------------------------------------------------------------

    def pause(self) -> float:
        """Seconds until the next look."""
        slower = 2.0 if self._queue.is_throttled else 1.0
        if self.is_kept and self._free.seconds is not None:
            # Free, and left to those ahead of us: pauses must stay short, or we could not tell that it stayed free.
            return slower * jittered(HEAD_SECONDS)
        if self.has_place:
            return slower * jittered(min(MAX_SECONDS / 1.1, HEAD_SECONDS * (self.rank + 1)))
        young, old = _UNPLACED_SECONDS
        age = min(1.0, (self._clock.boottime() - self._started_at) / _AGED_SECONDS)
        return slower * jittered(young + (old - young) * age, _UNPLACED_JITTER)

    # --- the record ---------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Give up our place."""
        if self._has_asked:
            self._queue.change(lambda state: state.without([self._ticket.id]))

    @property
    def leaving(self) -> tuple[str, ...]:
        """The tickets that go as we take the lock: ours, and those of the waiters that were passed over."""
        return (self._ticket.id, *self.passed)

    def _read(self) -> None:
        state = self._queue.read()
        if state is None:
            self._forgive_since(self._read_at)
        else:
            self._see(state)

    def _join(self) -> None:
        if self._queue.is_throttled:
            return
        self._has_asked = True
        state = self._queue.change(lambda state: state.joined(self._ticket))
        if state is not None:
            self._see(state)
            self._signed_at = self._read_at

    def _sign(self) -> None:
        """Show that we live, and take the dead out of the line."""
        now = self._clock.boottime()
        if self._queue.is_throttled:
            self._forgive_since(self._signed_at)  # Nobody signs now: nobody's silence means anything.
            return
        self._read()
        dead = self._view.silent(now)
        state = self._queue.change(lambda state: state.without_signs(dead).joined(self._ticket).signed(self._ticket.id))
        self._signed_at = now
        if state is not None:
            self._see(state)

    def _read_after_change(self) -> None:
        """Another holds the lock: it leaves the line a moment after it has taken the lock, so read once more."""
        looks, rank = self._stale_looks, self.rank
        self._read()
        self._stale_looks = looks - 1 if self.rank == rank else 0

    def _forgive_since(self, instant: float) -> None:
        """From that instant on we have seen nothing of the others; what was forgiven before is not forgiven twice."""
        now = self._clock.boottime()
        self._view.forgive(now - max(instant, self._forgiven_at), now)
        self._forgiven_at = now

    def _see(self, state: QueueState) -> None:
        self._read_at = self._clock.boottime()
        self._stale_looks = 0
        self._view.see(state, self._read_at)
        # Also where nobody answered when we joined: by this number we come back, should we be passed over.
        self._ticket = state.ticket(self._ticket.id) or self._ticket
