"""
What must be done to the child, decided from the lease's silence alone.

Pure: no clock, no process, no store. The keeper acts on it, the front acts on it a second time in case the keeper is
frozen, and the simulation drives the same code. The one counter of SIGINTs lives here: Terraform drops its state at
the second.
"""

from __future__ import annotations

from enum import Enum

from tfguard.errors import LostKind
from tfguard.lock import protocol
from tfguard.lock.deadlines import Deadlines


class Action(Enum):
    """One thing to do to the child, or to say."""

    WARN = "warn"
    INTERRUPT = "interrupt"
    FREEZE = "freeze"
    THAW = "thaw"
    KILL = "kill"


class Watchdog:
    """
    Watches one lease on behalf of one child.

    Freeze, then decide: a frozen Terraform cannot write, so while nobody knows who holds the lock it is stopped, not
    killed. A beat that lands afterwards proves that nobody was in between (takeover compares the beat), and it goes
    on. Only a record that is gone or another's ends it.

    `deadlines` is None for locks that the kernel ends: nothing ever expires there. `freeze_timeout`: for how many
    seconds a child may stay frozen, before nobody will ever know whose the lock is.
    """

    def __init__(self, deadlines: Deadlines | None, base: float, freeze_timeout: float = float("inf")) -> None:
        self.deadlines = deadlines
        self.freeze_timeout = freeze_timeout
        self.base = base
        self.lost: LostKind | None = None
        self.is_frozen = False
        self.is_interrupted = False
        self.is_doubted = False
        self._doubted_at = base
        self._is_warned = False
        self.frozen_at = base

    @property
    def safe_until(self) -> float:
        """The instant (boottime) at which the child must have stopped writing."""
        if self.is_doubted:
            return self.base
        return self.base + self.deadlines.freeze if self.deadlines else float("inf")

    @property
    def doubt_reason(self) -> str:
        """Why nobody knows whose the lock is, where that is not for a silence: of this a beat may well have landed."""
        return "connection ended" if self.is_doubted else ""

    @property
    def expires_at(self) -> float:
        """The instant (boottime) from which others may take the lock over."""
        return self.base + self.deadlines.takeover if self.deadlines else float("inf")

    @property
    def frozen_until(self) -> float:
        """The instant (boottime) at which a child that is frozen has been for too long."""
        return self.frozen_at + self.freeze_timeout if self.is_frozen and self.lost is None else float("inf")

    def landed(self, base: float) -> None:
        """A beat sent at `base` is known to have landed. Nothing extends a lease that is lost."""
        if self.lost is None and base > self.base:
            self.base = base
            self._is_warned = False
            self.is_doubted = self.is_doubted and base < self._doubted_at

    def doubt(self, at: float) -> None:
        """
        What carries the lock has ended, as was seen at `at` (boottime): others may have it, until a beat lands that was
        sent after that. Unsafe at once.
        """
        self.is_doubted = self.lost is None and at > self.base  # The page may have told of a later beat before.
        self._doubted_at = at

    def lose(self, kind: LostKind) -> None:
        """The lock is no longer ours; the first finding stands, save that *another's* outranks *gone*."""
        if self.lost is None or kind == "another's":
            self.lost = kind
            self.is_doubted = self.is_doubted and kind == "expired"  # Of that nobody has found out anything.

    def hear(self, message: protocol.Beaten | protocol.Doubted | protocol.Lost) -> None:
        """The lease's thread has found out how the lease stands."""
        match message:
            case protocol.Beaten():
                self.landed(message.base)
            case protocol.Doubted():
                self.doubt(message.at)
            case protocol.Lost():
                self.lose(message.kind)

    def start_child(self) -> None:
        """
        A child starts, and nothing has been done to it yet: one SIGINT for each Terraform.

        Ask `decide` right afterwards: if it is unsafe by now, this child is to be frozen like any other.
        """
        self.is_interrupted = self.is_frozen = False

    def interrupt_once(self) -> bool:
        """Claim the one SIGINT of this run. False if it was sent or delivered before."""
        claimed = not self.is_interrupted
        self.is_interrupted = True
        return claimed

    def decide(self, now: float) -> list[Action]:
        """
        Return what to do at `now` (boottime), most urgent first.

        Each action is given once per occasion, but FREEZE and KILL at every look as long as they hold: a stranger's
        SIGCONT undoes the one, and a process that was just forked escapes the other.
        """
        if self.deadlines is None and self.lost is None:
            return []
        if self.lost == "another's":
            return [*self._freeze(now), Action.KILL]
        is_unsafe = now >= self.safe_until
        if self.lost is not None:
            return [*self._freeze(now), Action.KILL] if is_unsafe else self._thaw() + self._interrupt()
        if is_unsafe:
            return self._freeze(now)
        return self._thaw() + self._by_silence(now - self.base)

    def _by_silence(self, silence: float) -> list[Action]:
        assert self.deadlines is not None
        actions: list[Action] = []
        if silence >= self.deadlines.warning and not self._is_warned:
            self._is_warned = True
            actions.append(Action.WARN)
        if silence >= self.deadlines.interrupt:
            actions += self._interrupt()
        return actions

    def _interrupt(self) -> list[Action]:
        return [Action.INTERRUPT] if self.interrupt_once() else []

    def _freeze(self, now: float) -> list[Action]:
        if not self.is_frozen:
            self.is_frozen, self.frozen_at = True, now
        return [Action.FREEZE]

    def _thaw(self) -> list[Action]:
        if not self.is_frozen:
            return []
        self.is_frozen = False
        return [Action.THAW]
