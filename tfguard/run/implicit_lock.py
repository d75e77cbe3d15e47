"""
The lock that Terraform takes by itself, whatever `-lock` says: to make a state or a workspace that is not there yet,
and on Consul for each look at another workspace than default. So `init` and `output` take it, too.

No `-lock-timeout` counts for it: where somebody has the lock, Terraform ends at once, and has done nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TypeVar

from tfguard.clock import SystemClock
from tfguard.errors import NAMED, LockBusy
from tfguard.process.front import Front
from tfguard.report.messages import waiting
from tfguard.report.reporter import Reporter

_T = TypeVar("_T")

_FRAME = re.compile(r"(?:\x1b\[[0-9;]*m|[\s│╷╵]|\\n)+")
#: What is said of the one who has it; or, where that one is just taking or freeing it, what went wrong by that.
_REFUSED = re.compile(
    r"(?:error loading|failed to load) state: (?:.{0,1500}?(?:"
    r"Lock Info:|terraformlockid\\?\" was empty|PreconditionFailed|ConditionalCheckFailed|storage: object doesn't exist"
    r"|the object has been modified|leases\.coordination\.k8s\.io \S+ already exists"
    r')|failed to lock state in Consul:\W*(?:$|",))',
    re.IGNORECASE,
)
#: Between two tries, in seconds: at first, and at most; from the half of it to the whole.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3.0


def is_refused(words: str) -> bool:
    """Whether a Terraform that ended with this was refused that lock, because somebody else has it."""
    return _REFUSED.search(_FRAME.sub(" ", words)) is not None


def wait(
    front: Front, report: Reporter, label: str, seconds: float, again: Callable[[], _T], refused: Callable[[_T], bool]
) -> _T:
    """
    Say that the lock is waited for, and try `again` until that is not `refused`; return what came of it.

    Raises:
        LockBusy: It still is after so many `seconds`.
        Interrupted: A signal ended the wait.
    """
    clock, pause = SystemClock(), _FIRST_PAUSE_SECONDS
    began = clock.boottime()
    if seconds > 0:
        report.say("info", "lock.implicit", waiting.implicit(label, remaining_seconds=seconds), label=label)
    while (left := began + seconds - clock.boottime()) > 0:
        rest(front, min(left, pause * random.uniform(0.5, 1.0)))
        if not refused(done := again()):
            return done
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    raise LockBusy(waiting.implicit_busy(label, waited_seconds=seconds), about=NAMED)


def rest(front: Front, seconds: float) -> None:
    """Wait so long, serving signals meanwhile. Raises Interrupted, KeeperGone."""
    clock = SystemClock()
    until = clock.boottime() + seconds
    front.wait(lambda: clock.boottime() >= until)
