"""
`python -m benchmarks`: measure everything, print a table, write `benchmarks/results.json`.

`--quick` measures with fewer rounds, for looking whether it still works. Names of parts measure only those.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.backends import BACKENDS
from benchmarks.contention import contention
from benchmarks.handoff import handoff
from benchmarks.overhead import memory, overhead
from benchmarks.scale import holding, scale
from benchmarks.stage import Bench, adopt_orphans, bench, versions

RESULTS = Path(__file__).parent / "results.json"
Row = tuple[str, str, str, bool | None]


def measure(parts: list[str], *, quick: bool) -> dict[str, Any]:
    """Run the parts named; those that need a calm machine first."""
    found: dict[str, Any] = {"versions": versions(), "load_before": round(os.getloadavg()[0], 2)}
    with bench() as stage:
        for name, part in _parts(stage, quick=quick).items():
            if name in parts or not parts:
                started = time.monotonic()
                found[name] = part()
                print(f"# {name}: {time.monotonic() - started:.0f} s", flush=True)
    found["load_after"] = round(os.getloadavg()[0], 2)
    return found


def _parts(stage: Bench, *, quick: bool) -> dict[str, Callable[[], Any]]:
    return {
        "overhead": lambda: overhead(stage, 4 if quick else 20, ["dynamodb"])["dynamodb"],
        "memory": lambda: memory(stage),
        "handoff": lambda: [handoff(stage, each, 10 if quick else 60) for each in ("dynamodb", "s3")],
        "backends": lambda: _backends(stage, quick=quick),
        "contention": lambda: [contention(stage, each) for each in ((3,) if quick else (8, 16))],
        "scale": lambda: [scale(each) for each in ((1, 20) if quick else (1, 10, 50, 100, 200, 500))],
        "holding": holding,
    }


def _backends(stage: Bench, *, quick: bool) -> dict[str, Any]:
    pairs, handovers = (4, 10) if quick else (20, 30)
    more = overhead(stage, pairs, list(BACKENDS))
    return {each: {**more[each], "handoff": handoff(stage, each, handovers)} for each in BACKENDS}


def rows(found: dict[str, Any]) -> Iterator[Row]:
    """What was measured, the bound it must keep, and whether it does."""
    for each in found.get("contention", []):
        yield from _contention_rows(each)
    for each in found.get("handoff", []):
        yield from _handoff_rows(each, 0.25)
    for backend, each in found.get("backends", {}).items():
        bound = found["backends"]["dynamodb"]["wall_median_s"] * 1.3
        name = f"overhead on {backend}: wall, median, beside plain"
        plain = each["plain_median_s"]
        shown = f"{each['wall_median_s']} s, plain {plain} s"
        yield name, shown, f"≤ {bound:.2f} s", each["wall_median_s"] <= bound
        if "handoff" in each:
            slowest = round(found["backends"]["dynamodb"]["handoff"]["median_s"] * 1.3, 3)
            yield from _handoff_rows(each["handoff"], BACKENDS[backend].handoff_seconds or slowest)
    if each := found.get("overhead"):
        yield "overhead: wall, median", f"{each['wall_median_s']} s", "≤ 0.30 s", each["wall_median_s"] <= 0.30
        yield "overhead: a plan to a plain one", f"{each['ratio_median']}", "≤ 2.0", each["ratio_median"] <= 2.0
        yield "overhead: CPU, median", f"{each['cpu_median_s']} s", "", None
        if cpu := each.get("cpu_ratio_median"):
            yield "overhead: CPU of a plan to a plain one's", f"{cpu}", "≤ 2.0", cpu <= 2.0
    if each := found.get("memory"):
        used = each["front_and_keeper_rss_mb"]
        yield "memory: front + keeper, peak RSS", f"{used} MB", "≤ 110 MB", used <= 110
        yield "memory: all of ours, PSS", f"{each['all_pss_mb']} MB", "", None
    for each in found.get("scale", []):
        rate, count = each["requests_per_s"], each["waiters"]
        bound = ("≤ 60/s", rate <= 60) if count == 100 else ("", None)
        yield f"scale, {count} waiters: requests", f"{rate}/s, ${each['dollars_per_h']}/h", *bound
        yield f"scale, {count} waiters: handoff, median", f"{each['handoff_median_s']} s", "", None
    if each := found.get("holding"):
        for name in ("dynamodb", "s3"):
            cost = each[name]
            yield f"holding, {name}", f"{cost['requests_per_h']} requests, ${cost['dollars_per_h']} an hour", "", None


def _handoff_rows(each: dict[str, Any], most: float) -> Iterator[Row]:
    name, median, p99 = f"handoff alone, {each['backend']}", each["median_s"], each["p99_s"]
    yield f"{name}: median", f"{median} s", f"≤ {most} s", median <= most
    yield f"{name}: p99", f"{p99} s", "≤ 0.6 s", p99 <= 0.6


def _contention_rows(each: dict[str, Any]) -> Iterator[Row]:
    ours, theirs, name = each["tfguard"], each["plain"], f"contention, N={each['count']}"
    yield f"{name}: makespan", f"{ours['makespan_s']} s (plain: {theirs['makespan_s']} s)", "", None
    ratio = each["makespan_ratio"]
    yield f"{name}: makespan to the same one after another", f"{ratio}", "≤ 1.5", ratio <= 1.5
    ratio = each["makespan_ratio_to_plain_alone"]
    yield f"{name}: makespan to plain Terraform one after another", f"{ratio}", "≤ 1.5", ratio <= 1.5
    gap = ours["gap_median_s"]
    yield f"{name}: median gap", f"{gap} s (plain: {theirs['gap_median_s']} s)", "≤ 0.8 s", gap <= 0.8
    share = each["gap_share_of_plain"]
    yield f"{name}: median gap to plain's", f"{share}", "≤ 1/8", share <= 1 / 8
    yield f"{name}: longest gap", f"{ours['gap_max_s']} s (plain: {theirs['gap_max_s']} s)", "", None
    over = ours["overtakes"]
    yield f"{name}: overtakes", f"{over} (plain: {theirs['overtakes']})", "0", over == 0


def table(found: dict[str, Any]) -> str:
    """The rows as Markdown."""
    marks = {True: "yes", False: "NO", None: ""}
    lines = ["| what | measured | must reach | reached |", "|---|---|---|---|"]
    lines += [f"| {what} | {value} | {bound} | {marks[ok]} |" for what, value, bound, ok in rows(found)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help="overhead memory handoff backends contention scale holding (all)")
    parser.add_argument("--quick", action="store_true", help="few rounds; writes no results")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    adopt_orphans()
    found = measure(options.parts, quick=options.quick)
    print(table(found))
    if not options.quick and not options.parts:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
