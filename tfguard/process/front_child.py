"""The child as the front knows it: by the keeper's word, or, once that keeper is dead, as its own."""

from __future__ import annotations

import os

from tfguard.guard.watchdog import Action
from tfguard.process import child

_DONE_BY = {Action.FREEZE: child.freeze, Action.THAW: child.thaw, Action.KILL: child.kill}


class FrontChild:
    """`pid` is 0 where there is none, or none that we have heard of; `is_spawning`: a keeper was asked to start one."""

    def __init__(self) -> None:
        self.pid = 0
        self.is_spawning = False
        self._inherited = 0

    @property
    def is_inherited(self) -> bool:
        """Whether its keeper is dead, so that the kernel has given it to us."""
        return bool(self._inherited)

    def find_unheard(self, keeper: int) -> None:
        """Look for a child that a dead keeper may have started without having told of it."""
        self.is_spawning = False
        self.pid = child.spawned_by(keeper)

    def inherit(self) -> bool:
        """Its keeper is dead. Return whether there is one to inherit."""
        self._inherited = self.pid or self._inherited
        return self.is_inherited

    def act(self, action: Action) -> None:
        """FREEZE, THAW or KILL it and all its descendants; what else there is to do is the keeper's."""
        if action in _DONE_BY:
            _DONE_BY[action](child.AdoptedChild(self.pid))

    def reap(self) -> int | None:
        """Return the exit status of an inherited child that has ended, once."""
        if not self._inherited:
            return None
        try:
            pid, status = os.waitpid(self._inherited, os.WNOHANG)
        except ChildProcessError:
            pid, status = self._inherited, 256
        if pid == 0:
            return None
        self._inherited = self.pid = 0
        return os.waitstatus_to_exitcode(status)
