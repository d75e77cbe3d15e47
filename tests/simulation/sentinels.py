"""
The page that the processes of a run share, and the sentinels, which act by it when nobody else does.

Modelled after `process.page` and `process.sentinel`, which need a kernel: an actor of its own, that can be stopped,
killed, and late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.world import Process
from tfguard.lock.deadlines import TICK_SECONDS

if TYPE_CHECKING:
    from tests.simulation.actors import Child, Keeper, Run


class Page:
    """What all of a run's processes know at the instant at which it is written, whoever dies next."""

    def __init__(self, run: Run) -> None:
        self.safe_until = self.freeze_timeout = float("inf")
        self.program: Child | None = None
        self.is_signalled = False
        self._run = run

    def note(self, safe_until: float, freeze_timeout: float) -> None:
        """A keeper enters what its watchdog knows."""
        is_news = self.safe_until != safe_until
        self.safe_until, self.freeze_timeout = safe_until, freeze_timeout
        if is_news and self.program is not None and self.program.is_frozen:
            self._run.stir()

    def clear(self) -> None:
        self.program, self.is_signalled = None, False

    def enter(self, program: Child) -> None:
        self.program = program
        self._run.stir()

    def claim_signal(self) -> bool:
        claimed, self.is_signalled = not self.is_signalled, True
        return claimed


class Sentinel:
    """
    One of a keeper's sentinels: freezes at the page's `safe_until`, thaws what it has frozen, and, when nobody else is
    left, ends it. It looks at every tick; here, when something has changed, or is due.
    """

    def __init__(self, keeper: Keeper, number: int) -> None:
        self.keeper = keeper
        self.run = keeper.run
        self.process = Process(keeper.run.machine, f"{keeper.name}/sentinel{number}")
        self.process.on_resume.append(self.look)
        self._frozen_at: float | None = None
        self._due_at = float("inf")
        self.soon()

    @property
    def is_watching(self) -> bool:
        return self.process.is_awake

    def soon(self) -> None:
        """Something has changed: it is seen at the next tick."""
        self.process.after(TICK_SECONDS * self.run.world.random.random(), self.look)

    def look(self) -> None:
        if self.keeper.is_done or not self.process.is_alive:
            self.process.is_alive = False  # Dismissed.
            return
        now, program = self.run.machine.boottime(), self.run.page.program
        if program is not None and not program.is_gone:
            self._enforce(program, now)
            self._plan(now)
        elif not self.keeper.process.is_alive:
            self.process.is_alive = False
        else:
            self._frozen_at = None

    def _enforce(self, program: Child, now: float) -> None:
        page = self.run.page
        self._freeze_or_thaw(program, now)
        if self.keeper.process.is_alive or self.run.code.wrong == "sentinel is shy":
            return
        if page.claim_signal():
            program.interrupt()
        if self._frozen_at is not None and not self.run.is_anybody_left:
            program.kill()

    def _freeze_or_thaw(self, program: Child, now: float) -> None:
        page, wrong = self.run.page, self.run.code.wrong
        if now < page.safe_until or wrong == "sentinel freezes nothing":
            if self._frozen_at is not None:
                self._frozen_at = None
                program.thaw()
            return
        if self._frozen_at is None:
            self._frozen_at = now
        program.freeze()
        if now - self._frozen_at >= page.freeze_timeout:
            program.kill()

    def _plan(self, now: float) -> None:
        page = self.run.page
        due = page.safe_until if self._frozen_at is None else self._frozen_at + page.freeze_timeout
        if now < due < float("inf") and due != self._due_at:
            self._due_at = due
            self.process.after(due - now + TICK_SECONDS * self.run.world.random.random(), self._arrive, due)

    def _arrive(self, due: float) -> None:
        if due == self._due_at:
            self._due_at = float("inf")
            self.look()
