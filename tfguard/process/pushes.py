"""The pushes of a state that a program could not save: programs of the keeper's as well."""

from __future__ import annotations

from tfguard.guard import messages
from tfguard.process.lease_thread import Lease
from tfguard.process.page import Page
from tfguard.process.program import Program
from tfguard.process.relatives import children_now
from tfguard.process.rescue import Rescuer


class Pushes:
    """The rescuer of the run at hand, whose pushes are programs of the keeper's: its `RescuePort`."""

    def __init__(self, program: Program, page: Page, lease: Lease) -> None:
        self._program = program
        self._lease = lease
        self._page = page
        self._rescuer = Rescuer(None)

    def begin(self, plan: messages.Rescue | None, before: str | None) -> None:
        self._rescuer = Rescuer(plan, before)

    def begin_program(self) -> None:
        """A program is about to start."""
        self._rescuer.begin()

    @property
    def is_needed(self) -> bool:
        return self._rescuer.is_needed

    @property
    def path(self) -> str:
        return self._rescuer.path

    @property
    def error(self) -> str:
        return self._rescuer.error

    def start(self) -> int:
        strangers = children_now()
        push = self._rescuer.start(self._page)
        self._program.begin(push, self._page.kin, strangers)
        return push.pid if push is not None else 0

    def ended(self, status: int) -> float | None:
        return self._rescuer.ended(status)

    def set_aside(self, lock_id: str) -> str:
        return self._rescuer.set_aside(lock_id)
