"""
N applies of one second at once on one state: plain Terraform with `-lock-timeout`, tfguard, and both one after another.

A *gap* is the time from the end of one provisioner to the begin of the next. An *overtake* is a pair that ran in the
other order than it came: for tfguard by its tickets (one more for each run but the first that was never seen with one),
for plain Terraform, which has none, by the order of launch.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stage import TFGUARD, WORK, Bench

PLAIN = ["terraform", "apply", "-auto-approve", "-input=false", "-no-color"]
GUARDED = [*TFGUARD, "apply", "-auto-approve", "-input=false", "-no-color"]
LAUNCH_SECONDS = 0.05


def contention(bench: Bench, count: int) -> dict[str, Any]:
    """Measure all four ways, each on a state of its own."""
    found = {
        "plain one after another": _serial(bench, PLAIN, count),
        "tfguard one after another": _serial(bench, GUARDED, count),
        "plain": _crowd(bench, [*PLAIN, "-lock-timeout=20m"], count),
        "tfguard": _crowd(bench, GUARDED, count),
    }
    ours, theirs = found["tfguard"], found["plain"]
    return {
        "count": count,
        **found,
        "makespan_ratio": round(ours["makespan_s"] / found["tfguard one after another"]["makespan_s"], 2),
        "makespan_ratio_to_plain_alone": round(ours["makespan_s"] / found["plain one after another"]["makespan_s"], 2),
        "gap_share_of_plain": round(ours["gap_median_s"] / theirs["gap_median_s"], 3),
    }


class _State:
    """One state and as many directories on it."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench = bench
        self.bucket, self.table = bench.bucket(), bench.table()
        first = bench.directory("run", WORK, bench.s3_block(self.bucket, self.table))
        self.paths = [first]
        for number in range(1, count):
            self.paths.append(shutil.copytree(first, first.parent / f"{first.name}-{number}", symlinks=True))
        self.log = first.parent / f"{first.name}.log"

    def environ(self, number: int) -> dict[str, str]:
        return {
            **self.bench.environ(),
            "TF_VAR_runner": f"r{number}",
            "TF_VAR_log": str(self.log),
            "TFGUARD_LOCK_TIMEOUT": "20m",
            # Names the run in its ticket.
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": f"9000{number:03d}",
            "GITHUB_REPOSITORY": "bench/bench",
            "GITHUB_SERVER_URL": "https://github.example",
        }

    def events(self) -> list[tuple[str, str, float]]:
        rows = [line.split() for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [(word, runner, float(at)) for word, runner, at in rows]


def _serial(bench: Bench, argv: Sequence[str], count: int) -> dict[str, Any]:
    state = _State(bench, count)
    started = time.monotonic()
    for number, path in enumerate(state.paths):
        _check(_start(argv, path, state.environ(number)), path)
    return {"makespan_s": round(time.monotonic() - started, 2), **_gaps(state)}


def _crowd(bench: Bench, argv: Sequence[str], count: int) -> dict[str, Any]:
    state = _State(bench, count)
    tickets = _Tickets(bench, state)
    tickets.start()
    started = time.monotonic()
    processes = []
    for number, path in enumerate(state.paths):
        processes.append(_start(argv, path, state.environ(number)))
        time.sleep(LAUNCH_SECONDS)
    for process, path in zip(processes, state.paths):
        _check(process, path)
    makespan = time.monotonic() - started
    tickets.stop()
    served = [runner for word, runner, _ in state.events() if word == "begin"]
    if argv[0] == "terraform":
        overtakes = {"overtakes": _inversions([f"r{number}" for number in range(count)], served)}
    else:
        came = tickets.order()
        # The first finds the lock free. Whoever else had no ticket went past those who had one.
        barged = [runner for runner in served[1:] if runner not in came]
        overtakes = {"overtakes": _inversions(came, served) + len(barged), "seen_without_ticket": len(barged)}
    return {"makespan_s": round(makespan, 2), **_gaps(state), **overtakes}


def _start(argv: Sequence[str], path: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(path / "out", "wb") as out:
        return subprocess.Popen(argv, cwd=path, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _check(process: subprocess.Popen[bytes], path: Path) -> None:
    if process.wait(timeout=1800):
        raise RuntimeError(f"exit {process.returncode}: {(path / 'out').read_text(errors='replace')[-2000:]}")


def _gaps(state: _State) -> dict[str, float]:
    events = sorted(state.events(), key=lambda event: event[2])
    words = [word for word, _, _ in events]
    if words != ["begin", "end"] * (len(words) // 2):
        raise RuntimeError(f"two ran at once: {events}")
    ends = [at for word, _, at in events if word == "end"]
    begins = [at for word, _, at in events if word == "begin"]
    gaps = [begin - end for end, begin in zip(ends, begins[1:])]
    return {"gap_median_s": round(statistics.median(gaps), 3), "gap_max_s": round(max(gaps), 3)}


def _inversions(came: Sequence[str], served: Sequence[str]) -> int:
    place = {runner: number for number, runner in enumerate(served)}
    known = [runner for runner in came if runner in place]
    return sum(place[first] > place[second] for first, second in itertools.combinations(known, 2))


class _Tickets(threading.Thread):
    """Looks into the queue record again and again: who has which number."""

    def __init__(self, bench: Bench, state: _State) -> None:
        super().__init__(daemon=True)
        self._client = bench.client("dynamodb")
        self._table = state.table
        self._key = f"{state.bucket}/app/terraform.tfstate.tfguard"
        self._numbers: dict[str, int] = {}
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(0.1):
            item = self._client.get_item(TableName=self._table, Key={"LockID": {"S": self._key}}).get("Item")
            for ticket in json.loads(item["Queue"]["S"]).get("tickets", []) if item else []:
                self._numbers[ticket["holder"]["run"]] = ticket["number"]

    def stop(self) -> None:
        self._is_over.set()
        self.join()

    def order(self) -> list[str]:
        """The runners that were seen with a ticket, in the order of their tickets."""
        runs = sorted(self._numbers, key=lambda run: self._numbers[run])
        return [f"r{int(run.split()[-1]) - 9000000}" for run in runs]
