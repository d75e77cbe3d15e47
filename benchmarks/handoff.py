"""
Release to next acquire, without Terraform in between: the keeper's own waiting code in threads, on a real store.

Each of a few waiters takes the lock, holds it for about a second, releases it and comes back to the end of the line.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from typing import Any

from benchmarks.backends import BACKENDS
from benchmarks.stage import Bench
from tfguard.backends import open_store
from tfguard.backends.target import StoreSpec
from tfguard.clock import SystemClock
from tfguard.lock.protocol import LockRequest, LockTerms
from tfguard.lock.queue import Queue
from tfguard.lock.store import Holder, queue_store
from tfguard.lock.waiting import Waiter

WAITERS = 6
HOLD_SECONDS = (0.6, 1.2)


def handoff(bench: Bench, backend: str, rounds: int) -> dict[str, Any]:
    """Measure `rounds` hand-overs. A hand-over is counted from before the release is sent until the lock is held."""
    found = _Handovers(BACKENDS[backend].specs(bench), rounds)
    threads = [threading.Thread(target=found.go, args=(number,)) for number in range(WAITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gaps = sorted(found.gaps)
    return {
        "backend": backend,
        "rounds": len(gaps),
        "median_s": round(statistics.median(gaps), 3),
        "p99_s": round(gaps[min(len(gaps) - 1, int(len(gaps) * 0.99))], 3),
        "max_s": round(gaps[-1], 3),
    }


class _Handovers:
    def __init__(self, specs: tuple[StoreSpec, ...], rounds: int) -> None:
        self.gaps: list[float] = []
        self._specs = specs
        self._rounds = rounds
        self._released_at: float | None = None

    def go(self, number: int) -> None:
        clock, stores = SystemClock(), [open_store(spec) for spec in self._specs]
        while len(self.gaps) < self._rounds:
            ledger = Queue(queue_store(stores), clock, time.sleep)
            waiter = Waiter(
                _request(f"waiter-{number}"),
                stores,
                clock,
                ledger,
                post=lambda message: None,
                tell=lambda message: None,
                cancel=threading.Event(),
            )
            lock = waiter.wait()
            now = clock.boottime()
            if self._released_at is not None:
                self.gaps.append(now - self._released_at)
            ledger.count_acquisition(0, waiter.gone)
            time.sleep(random.uniform(*HOLD_SECONDS))
            self._released_at = clock.boottime()
            lock.release()
        for store in stores:
            store.close()


def _request(name: str) -> LockRequest:
    return LockRequest(
        terms=LockTerms(timeout_seconds=600.0, lease_seconds=180.0),
        holder=Holder(who=name, command="apply"),
        operation="OperationTypeApply",
        info="",
        who=name,
        version="1.11.4",
        path="lock",
        is_changing=True,
    )
