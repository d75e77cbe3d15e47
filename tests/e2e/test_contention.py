"""
Twenty at once on one state: never two together, every one of them counted, nothing left behind.

Short here: on a local state, and where both of AWS's locks are taken. `TFGUARD_CONTENTION=all` is the long form, on
each backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.e2e.conftest import BACKENDS, Backend, Stage
from tests.e2e.running import running
from tests.support.eventually import patience

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RUNS = 20
CONTENDED: tuple[Backend, ...] = BACKENDS if os.environ.get("TFGUARD_CONTENTION") == "all" else ("both", "local")


@pytest.mark.parametrize("backend", CONTENDED)
def test_twenty_applies_at_once_run_one_after_the_other(stage: Callable[..., Stage], backend: Backend) -> None:
    made = stage(backend)
    made.environ["TFGUARD_LOCK_TIMEOUT"] = "1h"
    alone = made.tfguard("apply", "-auto-approve")
    first = (made.state() or {})["serial"]
    again = made.tfguard("apply", "-auto-approve")
    step = (made.state() or {})["serial"] - first

    started = [made.start_tfguard("apply", "-auto-approve") for _ in range(RUNS)]
    results = []
    for process in started:
        with running(process) as each:
            results.append(each.end(timeout=patience(120)))

    assert (alone.code, again.code) == (0, 0)
    assert [result.code for result in results] == [0] * RUNS, next(str(each) for each in results if each.code)
    assert made.log_lines() == ["begin", "end"] * (RUNS + 2)
    assert (made.state() or {})["serial"] == first + step * (RUNS + 1)
    assert made.leftovers() == []
    assert made.wrong_digests() == []
    assert made.tfguard("plan", "-detailed-exitcode").code == 2  # Its resource changes with the time: it can be read.
