"""A signal while the store does not answer: before the lock is ours, and while it is being released."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.conftest import GATED, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually, patience
from tests.support.proxy import Proxy, proxy

pytestmark = pytest.mark.e2e

APPLY = ("apply", "-auto-approve", "-input=false")


@pytest.fixture
def behind(stage: Callable[..., Stage]) -> Iterator[tuple[Stage, Proxy]]:
    """A directory that reaches its lock table through a proxy."""
    made = stage("dynamodb", text=GATED, is_initialised=False)
    with proxy(made.endpoints["dynamodb"]) as between:
        made.endpoints["dynamodb"] = between.endpoint
        made.write(GATED)
        yield made.init(), between


def keepers_of(made: Stage) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "tfguard-keeper" in process.cmdline() and process.cwd() == str(made.path):
                found.append(process)
    return found


def test_a_signal_while_acquiring_ends_at_once_and_leaves_nothing(behind: tuple[Stage, Proxy]) -> None:
    made, store = behind
    store.turn("hang")
    process = made.start_afresh(*APPLY)
    eventually(lambda: keepers_of(made), 20, "the keeper")
    time.sleep(1)  # So that its first request is under way.

    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=patience(20))
    took = time.monotonic() - began
    store.turn("pass")

    assert process.returncode == -signal.SIGTERM
    assert took < patience(5)
    eventually(lambda: not keepers_of(made), 30, "the keeper's end")
    assert made.locks() == []


def test_a_signal_while_releasing_is_waited_out_and_the_second_leaves_it_to_the_keeper(
    behind: tuple[Stage, Proxy],
) -> None:
    made, store = behind
    with running(made.start_afresh(*APPLY, TFGUARD_LOCK_LEASE="60s")) as ours:
        ours.wait_for_work(made)
        below = psutil.Process(ours.pid).children(recursive=True)
        terraform = next(each for each in below if each.name() == "terraform")
        terraform.kill()
        store.turn("hang")
        eventually(lambda: not terraform.is_running(), 20, "Terraform's end")

        front = psutil.Process(ours.pid)
        front.terminate()
        time.sleep(1)
        first_was_waited_out = front.is_running()
        front.terminate()
        time.sleep(0.3)
        with contextlib.suppress(psutil.Error):
            front.terminate()
        ours.end()
        store.turn("pass")

    assert first_was_waited_out
    eventually(lambda: made.locks() == [], 30, "the release by the keeper")
    eventually(lambda: not keepers_of(made), 30, "the keeper's end")
