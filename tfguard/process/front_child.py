"""The child as the front knows it: by the keeper's word, or, once that keeper is dead, as its own."""

from __future__ import annotations

import os
import time

from tfguard.guard.watchdog import Action
from tfguard.process import child, family
from tfguard.process.page import Page
from tfguard.process.relatives import Relatives

#: So long a dead keeper's sentinel may take to give the child its SIGINT, in seconds. Then we do.
_SENTINEL_SECONDS = 0.3


class FrontChild:
    """
    `pid` is 0 where there is none; `is_spawning`: a keeper was asked to start one. `page` is where a child enters
    itself before it can do anything, whether its keeper lives to tell of it or not.
    """

    def __init__(self, page: Page) -> None:
        self.pid = 0
        self.is_spawning = False
        #: The PID of the keeper at hand.
        self.keeper = 0
        self._page = page
        self._inherited = 0

    @property
    def is_inherited(self) -> bool:
        """Whether its keeper is dead, so that the kernel has given it to us."""
        return bool(self._inherited)

    def find(self) -> bool:
        """Look whether there is a child of which we have not heard yet; return whether there is."""
        program = self._page.program() if not self.pid else None
        if program is not None:
            self.pid, self.is_spawning = program.pid, False
        return program is not None

    def inherit(self) -> None:
        """Its keeper is dead: see that it has had its one SIGINT, from the sentinel or, if that is dead, from us."""
        self._inherited = self.pid
        until = time.monotonic() + _SENTINEL_SECONDS
        while not self._page.is_signalled and time.monotonic() < until:
            time.sleep(0.01)
        if self._page.claim_signal():
            family.interrupt(self.pid)

    def act(self, action: Action) -> None:
        """FREEZE, THAW or KILL it, its descendants and its relatives; what else there is to do is the keeper's."""
        relatives = self._relatives()
        done_by = {Action.FREEZE: relatives.freeze, Action.THAW: relatives.thaw, Action.KILL: relatives.kill}
        if action in done_by:
            done_by[action]()

    def reap(self) -> int | None:
        """Return the exit status of an inherited child that has ended, and its relatives with it, once."""
        if not self._inherited or not child.has_ended(self._inherited):
            return None
        if self._relatives().left():
            return None  # A zombie meanwhile: its PID is nobody else's, and its status waits for us.
        try:
            pid, status = os.waitpid(self._inherited, os.WNOHANG)
        except ChildProcessError:
            pid, status = self._inherited, 256
        if pid == 0:
            return None
        self._inherited = self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _relatives(self) -> Relatives:
        parents = (self.keeper, os.getpid()) if self._inherited else (self.keeper,)
        return Relatives(self._page.kin, self.pid, parents, is_scattered=self.is_inherited)
