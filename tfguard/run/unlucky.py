"""
A Terraform that locks by itself and came at the same moment as another: it has done nothing, and is run again.

It waits for a lock that it finds held. But while the other is just taking or freeing it, some backends say something
else, and then `-lock-timeout` does not count: Terraform ends at once.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

from tfguard.process.front import Front

_REFUSED = "Error acquiring the state lock"
#: What is said beside that: on azurerm, gcs and kubernetes.
_AT_THE_SAME_MOMENT = re.compile(
    r'terraformlockid\\?" was empty|storage: object doesn\'t exist|the object has been modified'
)
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
        status = run()
        words = front.last_words
        if status != 1 or _REFUSED not in words or not _AT_THE_SAME_MOMENT.search(words):
            return status
        tell()
        until = time.monotonic() + _PAUSE_SECONDS * random.uniform(0.5, 1.0)
        front.wait(lambda until=until: time.monotonic() >= until)  # type: ignore[misc]
    return run()
