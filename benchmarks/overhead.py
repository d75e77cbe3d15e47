"""What tfguard adds to one run: time, CPU, memory. Pairs of `terraform plan` and `tfguard plan`, both locking."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.backends import BACKENDS
from benchmarks.stage import IDLE, TFGUARD, WORK, Bench, Finished, run

Pair = tuple[Finished, Finished]


def overhead(bench: Bench, pairs: int, backends: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measure `pairs` pairs on each backend, in turns: what else the machine does meets all of them alike."""
    environ = bench.environ()
    paths = {each: bench.directory("idle", IDLE, BACKENDS[each].block(bench)) for each in backends}
    found: dict[str, list[Pair]] = {each: [] for each in backends}
    for number in range(pairs + 1):
        for backend, path in paths.items():
            pair = _pair(path, environ)
            if number:  # The first one of each makes caches.
                found[backend].append(pair)
    return {backend: _summary(of_it) for backend, of_it in found.items()}


def _pair(path: Path, environ: Mapping[str, str]) -> Pair:
    """How a plan of Terraform's ended, and then one of ours."""
    theirs, ours = (run([*program, "plan", "-input=false"], path, environ) for program in (["terraform"], TFGUARD))
    if theirs.code or ours.code:
        raise RuntimeError(theirs.err + ours.err)
    return theirs, ours


def _summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    more = [ours.wall - theirs.wall for theirs, ours in pairs]
    return {
        "pairs": len(pairs),
        "plain_median_s": round(statistics.median(theirs.wall for theirs, _ in pairs), 3),
        "ratio_median": round(statistics.median(ours.wall / theirs.wall for theirs, ours in pairs), 2),
        "wall_median_s": round(statistics.median(more), 3),
        "wall_max_s": round(max(more), 3),
        "cpu_ratio_median": round(statistics.median(ours.cpu / theirs.cpu for theirs, ours in pairs), 2),
        "cpu_median_s": round(statistics.median(ours.cpu - theirs.cpu for theirs, ours in pairs), 3),
    }


def memory(bench: Bench) -> dict[str, Any]:
    """Measure the peak of front and keeper while an apply of one second runs, and what they share."""
    path = bench.directory("memory", WORK, BACKENDS["dynamodb"].block(bench))
    environ = {**bench.environ(), "TF_VAR_runner": "m", "TF_VAR_log": str(path / "log")}
    process = subprocess.Popen(
        [*TFGUARD, "apply", "-auto-approve"],
        cwd=path,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peaks: dict[str, float] = {}
    shares: dict[str, float] = {}
    while process.poll() is None:
        for name, each in _ours(process.pid).items():
            try:
                peaks[name] = max(peaks.get(name, 0), _peak(each.pid))
                shares[name] = max(shares.get(name, 0), each.memory_full_info().pss / 2**20)
            except (psutil.Error, OSError, StopIteration):
                continue
        time.sleep(0.05)
    return {
        "peak_rss_mb": {name: round(value, 1) for name, value in peaks.items()},
        "front_and_keeper_rss_mb": round(peaks.get("front", 0) + peaks.get("keeper", 0), 1),
        "all_pss_mb": round(sum(shares.values()), 1),
    }


def _ours(front: int) -> dict[str, psutil.Process]:
    found = {}
    try:
        found["front"] = psutil.Process(front)
        for each in found["front"].children(recursive=True):
            words = " ".join(each.cmdline())
            if "tfguard-keeper" in words:
                found["keeper"] = each
            elif "tfguard-sentinel" in words:
                found["sentinel"] = each
    except psutil.Error:
        pass
    return found


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
