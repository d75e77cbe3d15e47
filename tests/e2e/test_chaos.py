"""
`kill -9` at random instants of contended runs: nobody overlaps, nothing is lost, no lock outlives its lease.

Short here; `TFGUARD_CHAOS_KILLS=50` is the long form, with ten runs at a time, and with `TFGUARD_CHAOS_BACKENDS=gcs,pg`
it is played on those.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.conftest import Stage
from tests.support.eventually import eventually, patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = int(os.environ.get("TFGUARD_CHAOS_KILLS", "9"))
SEED = int(os.environ.get("TFGUARD_SEED", "0")) or random.randrange(1, 10**6)
BACKENDS = os.environ.get("TFGUARD_CHAOS_BACKENDS", "dynamodb").split(",")
LEASE_SECONDS = 6
RUNS = 10 if KILLS >= 50 else 6

#: Whoever begins while the Terraform that began last is still there has overlapped; one that awaits burial is gone.
WORK = """
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = <<-EOT
      before=$(cat holder 2>/dev/null)
      case $(ps -o stat= -p "$before" 2>/dev/null) in ""|Z*) ;; *) echo OVERLAP $before $PPID >> log;; esac
      echo $PPID > holder; echo begin $PPID >> log; sleep 0.5; echo end $PPID >> log
    EOT
  }
}
"""


class Worker(threading.Thread):
    """Applies one state again and again, whatever happens to its runs."""

    def __init__(self, made: Stage, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.made = made
        self.stop = stop
        self.process: subprocess.Popen[str] | None = None
        self.codes: list[int] = []

    def run(self) -> None:
        while not self.stop.is_set():
            environ = {"TFGUARD_LOCK_LEASE": f"{LEASE_SECONDS}s"}
            self.process = self.made.start_afresh("apply", "-auto-approve", "-no-color", **environ)
            self.process.communicate()
            self.codes.append(self.process.returncode)

    def kill_something(self, chance: random.Random) -> str:
        """Kill the front, the keeper, or both, of the run that is going on."""
        what = chance.choice(["front", "keeper", "both"])
        with contextlib.suppress(psutil.Error, AttributeError):
            front = psutil.Process(self.process.pid)
            keeper = [each for each in front.children() if "tfguard-keeper" in each.cmdline()]
            for process in {"front": [front], "keeper": keeper, "both": [front, *keeper]}[what]:
                process.kill()
            return what
        return ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_kill_9_at_random_instants_overlaps_nobody_and_loses_nothing(stage: Callable[..., Stage], backend: str) -> None:
    chance = random.Random(SEED)
    print(f"TFGUARD_SEED={SEED}")
    states = [stage(backend, text=WORK, name=f"state{number}") for number in range(3)]
    stop = threading.Event()
    workers = [Worker(states[number % 3], stop) for number in range(RUNS)]
    for worker in workers:
        worker.start()

    killed = 0
    while killed < KILLS:
        time.sleep(chance.uniform(0.1, 1.5))
        killed += bool(chance.choice(workers).kill_something(chance))
    stop.set()
    for worker in workers:
        worker.join(timeout=patience(60))
        assert not worker.is_alive(), f"a run hangs: {worker.process}"

    runs = sum(len(worker.codes) for worker in workers)
    among = f"{runs} runs, {RUNS} at a time, of {len(states)} states"
    print(f"figures: kills on {backend}: {killed} × kill -9 among {among}")
    assert runs >= KILLS
    for made in states:
        assert_whole(made, successes=sum(worker.codes.count(0) for worker in workers if worker.made is made))


def assert_whole(made: Stage, successes: int) -> None:
    log = (made.path / "log").read_text() if (made.path / "log").exists() else ""
    assert "OVERLAP" not in log
    result = made.tfguard("apply", "-auto-approve", "-no-color", TFGUARD_LOCK_LEASE=f"{LEASE_SECONDS}s")
    assert result.code == 0, str(result)
    assert made.resources() == ["terraform_data.work"]
    assert (made.state() or {})["serial"] > successes
    eventually(lambda: made.locks() == [], 15, "the lock's release")
