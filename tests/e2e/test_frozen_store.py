"""A store that stops answering: Terraform is stopped in time, frozen rather than killed, and its state is whole."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Backend, Stage
from tests.e2e.operated import keeper_of, kill_keeper_of
from tests.e2e.running import Running, running
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, proxy
from tfguard.guard.front_rules import FROZEN_KEEPER_SECONDS
from tfguard.process.keeper_link import MAX_RESTARTS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")


@pytest.fixture
def behind(stage: Make) -> Iterator[Callable[[Backend], tuple[Stage, Proxy]]]:
    """A directory that reaches its lock's store through a proxy."""
    with contextlib.ExitStack() as opened:

        def make(backend: Backend) -> tuple[Stage, Proxy]:
            made = stage(backend, text=GATED, is_initialised=False)
            service = "dynamodb" if backend == "dynamodb" else "s3"
            between = opened.enter_context(proxy(made.endpoints[service]))
            made.endpoints[service] = between.endpoint
            made.write(GATED)
            return made.init(), between

        yield make


def terraform_of(ours: Running) -> psutil.Process:
    """The Terraform below our keeper."""
    below = psutil.Process(ours.pid).children(recursive=True)
    return next(each for each in below if each.name() == "terraform")


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_store_that_hangs_past_safe_until_freezes_terraform_and_loses_nothing(
    behind: Callable[[Backend], tuple[Stage, Proxy]], backend: Backend
) -> None:
    made, store = behind(backend)
    with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)) as ours:
        ours.wait_for_work(made)
        terraform = terraform_of(ours)
        store.turn("hang")
        ours.wait_for("Terraform is frozen")
        frozen = eventually(lambda: terraform.status() == psutil.STATUS_STOPPED, 10, "a stopped Terraform")
        time.sleep(10)  # The outage itself: so long after safe_until, which is longer than the whole lease.
        still_frozen = terraform.status() == psutil.STATUS_STOPPED
        store.turn("pass")
        ours.wait_for("Terraform goes on")
        result = ours.end()

    asked, froze = result.err.index("Terraform is asked once to stop"), result.err.index("Terraform is frozen")
    assert frozen and still_frozen
    assert asked < froze
    assert result.code == 1, str(result)
    assert result.err.count("Terraform is asked once to stop") == 1
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []
    assert made.wrong_digests() == []
    made.open_gate()
    after = made.tfguard(*APPLY)
    assert after.code == 0, str(after)


def test_a_successor_sits_out_an_outage_longer_than_a_frozen_keeper_is_given(
    behind: Callable[[Backend], tuple[Stage, Proxy]],
) -> None:
    made, store = behind("dynamodb")

    with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)) as ours:
        ours.wait_for_work(made)
        store.turn("hang")
        ours.wait_for("Terraform is frozen")
        kill_keeper_of(ours.pid)
        successor = eventually(lambda: keeper_of(ours.pid), 10, "a successor")
        time.sleep(FROZEN_KEEPER_SECONDS + 2)  # The outage itself.
        same = keeper_of(ours.pid)
        store.turn("pass")
        result = ours.end()

    assert same == successor
    assert "Terraform goes on" in result.err
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []


def test_a_frozen_terraform_whose_keepers_all_die_is_killed_and_the_run_ends(
    behind: Callable[[Backend], tuple[Stage, Proxy]],
) -> None:
    made, store = behind("dynamodb")

    with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)) as ours:
        ours.wait_for_work(made)
        terraform = terraform_of(ours)
        store.turn("hang")
        ours.wait_for("Terraform is frozen")
        for _ in range(1 + MAX_RESTARTS):
            kill_keeper_of(ours.pid)
        result = ours.end()

    assert result.code == 76, str(result)
    assert "keeper process died again and again" in result.err
    assert "the lock was lost: its lease ran out without a heartbeat" in result.err
    assert "the lock could not be released" in result.err
    assert not terraform.is_running()


def test_a_short_hang_is_a_warning_and_nothing_more(behind: Callable[[Backend], tuple[Stage, Proxy]]) -> None:
    made, store = behind("dynamodb")

    with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE="30s")) as ours:
        ours.wait_for_work(made)
        store.turn("hang")
        ours.wait_for("no heartbeat has landed")
        store.turn("pass")
        beats = made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")
        eventually(lambda: made.dynamodb.item(made.table, f"{made.bucket}/{made.key}") != beats, 30, "a heartbeat")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert "asked once to stop" not in result.err and "frozen" not in result.err.replace("fifths, frozen", "")
    assert made.log_lines() == ["begin", "end"]
    assert made.leftovers() == []
    assert made.wrong_digests() == []


def test_a_store_that_refuses_connections_for_a_moment_changes_nothing(
    behind: Callable[[Backend], tuple[Stage, Proxy]],
) -> None:
    made, store = behind("dynamodb")

    def item() -> object:
        return made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")

    with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE="30s")) as ours:
        ours.wait_for_work(made)
        store.turn("refuse")
        made.open_gate()
        made.wait_for_log("end")
        seen = item()
        store.turn("pass")
        result = ours.end()

    assert seen, "the lock is kept until it can be released"
    assert result.code == 0, str(result)
    assert made.leftovers() == []
    assert made.wrong_digests() == []
