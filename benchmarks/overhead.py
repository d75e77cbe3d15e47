"""What tfguard adds to one run: time, CPU, memory. Pairs of `terraform plan` and `tfguard plan`, both locking."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.backends import BACKENDS
from benchmarks.stage import IDLE, TFGUARD, WORK, Bench, run


def overhead(bench: Bench, pairs: int, backend: str = "dynamodb") -> dict[str, Any]:
    """Measure `pairs` pairs, one right after the other."""
    path = bench.directory("idle", IDLE, BACKENDS[backend].block(bench))
    environ = bench.environ()
    programs = (["terraform", "plan", "-input=false"], [*TFGUARD, "plan", "-input=false"])
    for program in programs:
        run(program, path, environ)
    wall, cpu, plain, ratio, cpu_ratio = [], [], [], [], []
    for _ in range(pairs):
        theirs, ours = (run(program, path, environ) for program in programs)
        if theirs.code or ours.code:
            raise RuntimeError(theirs.err + ours.err)
        plain.append(theirs.wall)
        wall.append(ours.wall - theirs.wall)
        cpu.append(ours.cpu - theirs.cpu)
        ratio.append(ours.wall / theirs.wall)
        cpu_ratio.append(ours.cpu / theirs.cpu)
    return {
        "pairs": pairs,
        "plain_median_s": round(statistics.median(plain), 3),
        "ratio_median": round(statistics.median(ratio), 2),
        "wall_median_s": round(statistics.median(wall), 3),
        "wall_max_s": round(max(wall), 3),
        "cpu_ratio_median": round(statistics.median(cpu_ratio), 2),
        "cpu_median_s": round(statistics.median(cpu), 3),
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
