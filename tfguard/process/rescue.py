"""
Bringing home a state that Terraform could not save.

When its last write fails, Terraform leaves `errored.tfstate` in its directory and goes. That file dies with the
runner, and with it the knowledge of what was created. So before the lock is released, still under it, the state is
pushed by Terraform itself, which refuses one of another lineage or an older serial, with credentials resolved anew.

Not promised: a state that Terraform could not even write to a file is on its standard output alone.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import IO

from tfguard import files
from tfguard.guard import messages
from tfguard.lock.names import UNSAVED_STATE
from tfguard.process import child
from tfguard.process.page import Page
from tfguard.process.relatives import NEST, Kin, new_nest
from tfguard.process.standby import Start

#: Pauses between tries to push, in seconds; Terraform retries each request by itself as well.
PAUSES_SECONDS = (1.0, 3.0, 6.0)
_MAX_OUTPUT = 64 * 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def errored_path(plan: messages.Rescue | None) -> str:
    """Where Terraform leaves a state that it could not save; empty if nobody cares."""
    return os.path.join(plan.directory, UNSAVED_STATE) if plan else ""


def stamp(path: str) -> str:
    """Return which file lies there: another text for another file, or another content. Empty if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_ino}/{status.st_mtime_ns}/{status.st_size}"


class Rescuer:
    """
    Watches for one run's errored state, and pushes it. The keeper calls, and reaps what is started.

    `before` is the stamp of what lay there before the run's first program. A dead predecessor's run has begun long
    ago: what lies there by now may be its own.
    """

    def __init__(self, plan: messages.Rescue | None, before: str | None = None) -> None:
        self._plan = plan
        self.path = errored_path(plan)
        self._has_begun = before is not None
        self._before = stamp(self.path) if before is None else before
        self._output: IO[bytes] | None = None
        self._tries = 0
        self.error = ""

    def begin(self) -> None:
        """The run's first program is about to start: what lies there now is somebody else's."""
        if not self._has_begun:
            self._has_begun = True
            self._before = stamp(self.path)

    @property
    def is_needed(self) -> bool:
        """Whether there is an errored state that this run has left."""
        return bool(self._plan) and stamp(self.path) not in ("", self._before)

    def start(self, page: Page) -> child.Child | None:
        """Start one push; None if it cannot be."""
        if self._plan is None or not self._plan.argv:
            return None
        self._tries += 1
        kin = Kin(new_nest(self._plan.environ), "writers")
        try:
            self._output = files.scratch()
            with open(os.devnull, "rb") as nothing:
                stdio = (nothing.fileno(), self._output.fileno(), self._output.fileno())
                argv, environ = [*self._plan.argv, self.path], {**self._plan.environ, NEST: kin.nest}
                return child.Child(Start(argv, self._plan.current, environ, 0, stdio), page, kin)
        except OSError as error:
            self.error = str(error)
            return None

    def ended(self, status: int) -> float | None:
        """Note how a push ended; return after how many seconds to try again, None if that is of no use."""
        self.error = self._read_error()
        if status == 0:
            return None
        is_refused = "serial" in self.error or "lineage" in self.error
        return None if is_refused or self._tries > len(PAUSES_SECONDS) else PAUSES_SECONDS[self._tries - 1]

    def set_aside(self, lock_id: str) -> str:
        """Give the pushed file another name, so that nobody pushes it twice."""
        place = f"{self.path}.pushed-{lock_id}"
        with contextlib.suppress(OSError):
            os.replace(self.path, place)
        return place

    def _read_error(self) -> str:
        assert self._output is not None
        with self._output as file:
            file.seek(0)
            text = _COLOUR.sub("", file.read(_MAX_OUTPUT).decode("utf-8", "replace"))
        lines = [line for each in text.splitlines() if (line := each.strip(" │╵╷"))]
        said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        # What it refuses to push it says in a bare line.
        return (said or lines[-1:] or ["it gave no reason"])[0].removeprefix("Failed to write state: ")
