"""
Plain Terraforms and tfguards on one state, while every tenth request of ours goes wrong: row M1.

The work is a read-modify-write of an unprotected counter. Short here; `TFGUARD_MIXED_SECONDS=600` is the long form.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Result, Stage
from tests.faults.proxy import LOST, UNHEARD, Fate, FaultProxy, failed, fault_proxy, refused, slow
from tests.support.eventually import patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.emulator]

SECONDS = float(os.environ.get("TFGUARD_MIXED_SECONDS", "5"))
SEED = int(os.environ.get("TFGUARD_SEED", "0")) or random.randrange(1, 10**6)
APPLY = ("apply", "-auto-approve", "-no-color")
FAULTS: tuple[Fate, ...] = (LOST, UNHEARD, failed("500"), refused("500"), refused("throttled"), slow(0.5))

#: Two at once would read the same number, and one of both updates would be lost.
WORK = """
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "read n < counter; sleep 0.1; echo $((n + 1)) > counter; echo done >> log"
  }
}
"""


def disturb(proxy: FaultProxy, chance: random.Random) -> None:
    """One request of ours in ten meets one of the faults; a plain Terraform's locking has none to spare."""
    for fault in FAULTS:
        share = 0.1 / len(FAULTS)
        proxy.always(lambda request, share=share: request.is_ours and chance.random() < share, fault)


def apply_until(until: float, apply: Callable[[], Result], results: list[Result]) -> threading.Thread:
    def run() -> None:
        while time.monotonic() < until:
            results.append(apply())

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_m1_a_mixed_fleet_under_random_faults_loses_no_update(stage: Callable[..., Stage]) -> None:
    print(f"TFGUARD_SEED={SEED}")
    made = stage("dynamodb", text=WORK, is_initialised=False)
    (made.path / "counter").write_text("0\n")
    with fault_proxy(made.endpoints["dynamodb"]) as proxy:
        made.endpoints["dynamodb"] = proxy.endpoint
        made.write(WORK)
        made.init()
        disturb(proxy, random.Random(SEED))
        until = time.monotonic() + SECONDS
        ours: list[Result] = []
        theirs: list[Result] = []
        fleet = [
            *(apply_until(until, lambda: made.tfguard(*APPLY), ours) for _ in range(3)),
            *(apply_until(until, lambda: made.terraform(*APPLY, "-lock-timeout=10m"), theirs) for _ in range(2)),
        ]
        for thread in fleet:
            thread.join(SECONDS + patience(60))
        assert not any(thread.is_alive() for thread in fleet)

    done = made.log_lines().count("done")
    tried = f"{len(ours)} applies by tfguard, {len(theirs)} plain, {done} updates"
    print(f"figures: mixed: {SECONDS:.0f} s with every tenth request going wrong: {tried}")
    assert int((made.path / "counter").read_text()) == done
    assert done >= sum(result.code == 0 for result in (*ours, *theirs))
    assert ours
    assert not (failed_runs := [str(result) for result in ours if result.code]), failed_runs[0]
    assert made.leftovers() == []
    assert made.wrong_digests() == []
