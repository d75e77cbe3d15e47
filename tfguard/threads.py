"""
The one way to start a thread: whatever ends it, somebody hears of it.

A thread that dies of a defect says so on stderr at best, and whoever waits for it waits for ever. So each is started
with somebody who does without it, or ends what cannot do without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def start(name: str, work: Callable[[], object], on_defect: Callable[[BaseException], object]) -> threading.Thread:
    """Start `work` in a daemon thread. If anything but its return ends it, `on_defect` is called, in that thread."""

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread is gone
            on_defect(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
