"""
A Terraform that locks by itself and came at the same moment as another: it has done nothing, and is run again.

It waits for a lock that it finds held. But while the other is just taking or freeing it, some backends say something
else, and then `-lock-timeout` does not count: Terraform ends at once. Nor does it count for its implicit lock
(`implicit_lock`); and who is refused for such a lock soon finds it free, be it one of its own that it has forgotten
(`lock.guarded`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

from tfguard.process.front import Front
from tfguard.run import implicit_lock

_REFUSED = "Error acquiring the state lock"
#: What is said beside that: on azurerm, gcs and kubernetes.
_AT_THE_SAME_MOMENT = re.compile(
    r'terraformlockid\\?" was empty|storage: object doesn\'t exist|the object has been modified'
)
_HELD_TO_MAKE_IT = re.compile(r"Operation: +init\b")
#: Who has waited for longer than this, in seconds, was refused for another lock, or for one that nobody will free.
_SOON_SECONDS = 30.0
_TIMES = 5
#: Between two tries, in seconds: from the half of it to the whole.
_PAUSE_SECONDS = 2.0


def run_until_not_unlucky(front: Front, run: Callable[[], int], tell: Callable[[], object]) -> int:
    """
    Have it run, and again if it was refused so, a few times; return its exit status as `Front.run` does.

    Only what was relayed can be read: on a terminal of its own a Terraform that was refused so is not run again.
    `tell` is called before each further try.
    """
    for _ in range(_TIMES - 1):
        began_at = time.monotonic()
        status = run()
        is_soon = time.monotonic() - began_at < _SOON_SECONDS
        if status != 1 or not _is_unlucky(front.last_words, is_soon=is_soon):
            return status
        tell()
        implicit_lock.rest(front, _PAUSE_SECONDS * random.uniform(0.5, 1.0))
    return run()


def _is_unlucky(words: str, *, is_soon: bool) -> bool:
    if implicit_lock.is_refused(words):
        return True
    if _REFUSED not in words:
        return False
    return bool(_AT_THE_SAME_MOMENT.search(words) or (is_soon and _HELD_TO_MAKE_IT.search(words)))
