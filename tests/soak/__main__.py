"""
The long forms of what `make test` runs briefly: `python -m tests.soak --minutes 60`.

Half of the time a run is held with credentials that expire, while the simulation plays beside it; then, one after
another, the locking set, torture (our processes stopped, continued and killed while a rival waits to write), applies
in directories that are edited meanwhile, `kill -9` at random instants, cancels while a program starts, plain
Terraforms among tfguards, without and with faults of the store, twenty runs at once on each backend, two and a plain
one on each other backend, the kubernetes backend on a real API server, the properties with many more examples, every
single fault, what `make test` leaves to `make long`, commands beside plain Terraform's in all kinds of surroundings,
and what was written down of Terraform and OpenTofu, of whom and where they ask, asked again. Each part's figures stand
in the closing summary; the end of what a failed part has printed is above it. Exit status: how many failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Lines that begin so are what a part came to.
FIGURES = "figures: "
_SHOWN_LINES = 60
ALL_BACKENDS = "dynamodb,s3,both,local,azurerm,consul,gcs,gitlab,kubernetes,pg"
MIXED_FAULTS = "tests/faults/test_mixed.py"
#: What Terraform was seen to do, and tfguard does as well: here Terraform is asked again.
AS_TERRAFORM = ("tests/backends/aws/test_where.py", "tests/terraform/test_backend_values.py")

#: What is asked of a real API server, built from Debian's source: the first time that takes half an hour.
ON_KUBERNETES = (
    *("tests/contract", "tests/backends/kubernetes"),
    *("tests/e2e/test_kubernetes.py", "tests/e2e/test_native.py"),
)


@dataclass(frozen=True)
class Part:
    """One part: a module and its arguments, and the environment that makes it long."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]

    def play(self) -> Outcome:
        """Run it to its end."""
        started = time.monotonic()
        say(f"{self.name} …")
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
            command = [sys.executable, "-u", "-m", *self.argv]
            environ = {**os.environ, **self.environ}
            code = subprocess.run(command, cwd=ROOT, env=environ, stdout=file, stderr=file).returncode
            file.seek(0)
            outcome = Outcome(self.name, code == 0, time.monotonic() - started, file.read().splitlines())
        say(f"{self.name} {outcome.verdict} after {outcome.seconds / 60:.1f} min")
        return outcome


@dataclass(frozen=True)
class Outcome:
    """How a part ended, and what it printed."""

    name: str
    is_good: bool
    seconds: float
    lines: Sequence[str]

    @property
    def verdict(self) -> str:
        return "held" if self.is_good else "FAILED"

    @property
    def figures(self) -> list[str]:
        """What it came to; where nothing is marked as that, its last lines."""
        lines = [line.lstrip(".") for line in self.lines]  # Without pytest's dots for the tests that passed.
        found = [line.removeprefix(FIGURES) for line in lines if line.startswith(FIGURES)]
        return [line.removeprefix(f"{self.name}: ") for line in found] or [line for line in lines if line][-2:]


def beside_one_another(minutes: float) -> list[Part]:
    """The run that is held idles: the simulation has the processor to itself."""
    half = f"{minutes / 2:g}"
    return [
        Part("simulation", ["tests.simulation", "--minutes", half, "--processes", str(os.cpu_count() or 1)], {}),
        pytest_part("endurance", "tests/soak/test_endurance.py", TFGUARD_ENDURANCE_MINUTES=half),
    ]


def one_after_another(minutes: float) -> list[Part]:
    seconds = minutes * 60
    kills = max(9, round(50 * minutes / 60))
    failures = {"TFGUARD_FAULTS_CROWD": "12", "TFGUARD_FAULTS_BREAK": "all"} if minutes >= 30 else {}
    return [
        pytest_part(
            "locking set",
            "tests/soak/test_locking_set.py",
            TFGUARD_SET_SECONDS=f"{seconds / 12:.0f}",
            TFGUARD_SET_STORES="dynamodb,consul",
        ),
        pytest_part("edits", "tests/soak/test_edits.py", TFGUARD_EDITS_SECONDS=f"{seconds / 30:.0f}"),
        pytest_part(
            "torture",
            "tests/soak/test_torture.py",
            TFGUARD_TORTURE_SECONDS=f"{seconds / 12:.0f}",
            TFGUARD_TORTURE_STORES="dynamodb,consul",
        ),
        pytest_part(
            "kills", "tests/e2e/test_chaos.py", TFGUARD_CHAOS_KILLS=f"{kills}", TFGUARD_CHAOS_BACKENDS=ALL_BACKENDS
        ),
        pytest_part("cancels", "tests/e2e/test_surroundings.py", "-k", "cancel", TFGUARD_CANCEL_TRIES=f"{kills}"),
        pytest_part("mixed", "tests/e2e/test_mixed.py", MIXED_FAULTS, TFGUARD_MIXED_SECONDS=f"{seconds / 30:.0f}"),
        pytest_part("as plain", "tests/e2e/test_as_plain.py", TFGUARD_AS_PLAIN="all"),
        pytest_part("contention", "tests/e2e/test_contention.py", TFGUARD_CONTENTION="all"),
        pytest_part("properties", "tests", "-m", "hypothesis", HYPOTHESIS_PROFILE="long"),
        pytest_part(
            "as Terraform",
            "tests/backends/aws/test_where.py",
            "tests/terraform/test_backend_values.py",
            TFGUARD_TEST_ASK="terraform",
        ),
        pytest_part("failures", "tests/faults", f"--ignore={MIXED_FAULTS}", **failures),
        pytest_part("beside", "tests/e2e/test_native.py", "-k", "never_overlap", TFGUARD_BESIDE_SECONDS="120"),
        pytest_part("Kubernetes", *ON_KUBERNETES, "-k", "kubernetes", TFGUARD_TEST_KUBERNETES="real"),
        pytest_part("long", "tests", "-m", "long"),
        Part("as whom (Terraform)", ["tests.backends.aws.whom"], {}),
        Part("as whom (OpenTofu)", ["tests.backends.aws.whom", "--tofu"], {}),
    ]


def pytest_part(name: str, *words: str, **environ: str) -> Part:
    # A part of half an hour is not hung after two minutes.
    return Part(name, ["pytest", "-q", "-s", "-o", "faulthandler_timeout=0", *words], environ)


def play(minutes: float) -> list[Outcome]:
    """Play all parts; gives how each ended, in their order."""
    parts = beside_one_another(minutes)
    with ThreadPoolExecutor(len(parts)) as pool:
        outcomes = list(pool.map(Part.play, parts))
    return outcomes + [part.play() for part in one_after_another(minutes)]


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    lines = [
        f"soak: {seconds / 60:.0f} min on {os.cpu_count()} cores, {sum(not each.is_good for each in outcomes)} failed"
    ]
    for each in outcomes:
        for index, figure in enumerate(each.figures):
            lines.append(f"  {each.verdict if index == 0 else '':6}  {each.name if index == 0 else '':11}  {figure}")
    return "\n".join(lines)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long all of it may take, about")
    minutes = parser.parse_args().minutes
    started = time.monotonic()
    outcomes = play(minutes)
    for each in outcomes:
        if not each.is_good:
            print(f"--- {each.name} {each.verdict}", *each.lines[-_SHOWN_LINES:], sep="\n")
    print(summary(outcomes, time.monotonic() - started))
    return sum(not each.is_good for each in outcomes)


if __name__ == "__main__":
    sys.exit(main())
