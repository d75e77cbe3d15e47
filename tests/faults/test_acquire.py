"""Taking a lock when answers get lost: rows A1 to A8."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise

import pytest

from tests.faults.proxy import HANGS, HANGS_AFTER_LANDING, LATE, LOST, UNHEARD, Fate, failed, refused
from tests.faults.scene import SHORT_LEASE, Scene, exit_record, is_gone, keeper_of, on_both_stores, on_every_store
from tests.support.eventually import eventually, patience
from tests.support.fakes import plain

pytestmark = pytest.mark.e2e

#: How many come at once. `TFGUARD_FAULTS_CROWD=50` is the long form.
CROWD = int(os.environ.get("TFGUARD_FAULTS_CROWD", "8"))


@pytest.mark.parametrize(
    "fate", [UNHEARD, HANGS_AFTER_LANDING, failed("500")], ids=["closed", "read-timeout", "500-though-done"]
)
@on_every_store
def test_a1_a_lock_whose_answer_was_lost_is_ours_at_once(scene: Scene, fate: Fate) -> None:
    """The run starts at once, under the one ID that was written; it never waits for itself, and leaves nothing."""
    scene.proxy.on("create", fate)

    result = scene.run(timeout="0s", argv=["true"]).end()

    assert result.code == 0, str(result)
    assert len(scene.proxy.asked("create")) == 1
    assert "held by" not in result.err
    assert scene.record() is None


@on_every_store
def test_a2_a_lock_that_never_arrived_is_asked_for_again(scene: Scene) -> None:
    """Retried, and the program is started once."""
    scene.proxy.on("create", LOST, LOST)
    scene.let_end("a")

    result = scene.run().end()

    assert result.code == 0, str(result)
    assert scene.times("a", "begin") == 1
    assert len(scene.proxy.landed("create")) == 1
    assert scene.record() is None


def test_a3_a_lock_that_vanishes_between_refusal_and_look_is_tried_again(scene: Scene) -> None:
    """No error, and no wait: it is free, after all. (A plain Terraform ends with "unexpected end of JSON input".)"""
    scene.proxy.before_next("create", lambda: scene.overwrite(plain()))
    scene.proxy.after_next("create", scene.remove)

    result = scene.run(timeout="0s", argv=["true"]).end()

    assert result.code == 0, str(result)
    assert [request.succeeded for request in scene.proxy.asked("create")] == [False, True]
    assert scene.record() is None


@on_every_store
def test_a4_a_lock_that_lands_after_we_have_gone_ends_with_its_lease(scene: Scene) -> None:
    """Nobody holds the orphan; the next run takes it over after the orphan's lease, and not before."""
    scene.lease = SHORT_LEASE
    scene.proxy.on("create", LATE)
    gone = scene.run(timeout="0s", argv=["true"]).end()
    landed = scene.proxy.land_late()

    result = scene.run("b", argv=["true"]).end()

    assert gone.code == 69, str(gone)
    assert landed == [200]
    assert result.code == 0, str(result)
    assert "took the lock over" in result.err
    assert scene.lease <= float(exit_record(result)["waited_s"]) <= scene.lease + patience(1)
    assert scene.record() is None


@pytest.mark.parametrize(
    "text",
    ["", "locked by Bob", '{"ID":"0aaf', "d41d8cd98f00b204e9800998ecf8427e"],
    ids=["empty", "word", "half", "md5"],
)
@on_every_store
def test_a5_what_nobody_can_read_is_a_lock_that_nobody_takes(scene: Scene, text: str) -> None:
    """A clear message, no crash, no theft."""
    scene.kind.plant(text.encode())

    result = scene.run(timeout="0s", argv=["true"]).end()

    assert result.code == 75, str(result)
    assert "cannot be read" in result.err
    assert "Traceback" not in result.err
    assert scene.kind.info() == text.encode()


@pytest.mark.parametrize(("word", "code"), [("denied", 77), ("expired", 77), ("missing", 78)])
@on_every_store
def test_a6_a_refusal_is_said_at_once_and_is_never_a_lock(scene: Scene, word: str, code: int) -> None:
    scene.proxy.always("create", refused(word))

    result = scene.run().end()

    assert result.code == code, str(result)
    assert len(scene.proxy.asked("create")) == 1
    assert scene.lines() == []
    assert scene.record() is None


@on_every_store
def test_a6_throttling_and_errors_are_waited_out_and_are_never_a_lock(scene: Scene) -> None:
    scene.proxy.on("create", refused("throttled"), refused("500"), refused("RequestLimitExceeded"))
    scene.let_end("a")

    result = scene.run().end()

    asked = scene.proxy.asked("create")
    assert result.code == 0, str(result)
    assert len(asked) == 4
    assert scene.lines("a", "begin")[0].at > asked[-1].at
    assert scene.record() is None


@pytest.mark.parametrize(
    ("fate", "number"),
    [(HANGS, signal.SIGINT), (HANGS_AFTER_LANDING, signal.SIGTERM)],
    ids=["not-landed", "landed"],
)
@on_every_store
def test_a7_a_signal_while_a_write_is_in_flight_ends_within_a_second(scene: Scene, fate: Fate, number: int) -> None:
    """And whatever the write did is undone, by the keeper that stays behind for it."""
    scene.proxy.on("create", fate)
    ours = scene.run()
    eventually(lambda: scene.proxy.asked("create"), 20)
    keeper = keeper_of(ours)

    began = time.monotonic()
    ours.process.send_signal(number)
    code = ours.process.wait(patience(20))
    took = time.monotonic() - began

    assert code == -number
    assert took < patience(1.5), "0.8 s are the keeper's, to clear up; the lock would be waited for longer"
    eventually(lambda: is_gone(keeper), 20, "the keeper's end")
    assert scene.record() is None
    assert scene.lines() == []


@on_both_stores
def test_a8_of_a_crowd_one_at_a_time_holds_the_lock_and_each_gets_it(scene: Scene) -> None:
    names = [f"w{number}" for number in range(CROWD)]
    scene.let_end(*names)

    results = [run.end() for run in [scene.run(name) for name in names]]

    assert [result.code for result in results] == [0] * CROWD
    begins_and_ends = [line for line in scene.lines() if line.word != "tick"]
    assert [line.word for line in begins_and_ends] == ["begin", "end"] * CROWD
    assert all(first.name == second.name for first, second in list(pairwise(begins_and_ends))[::2])
    assert {line.name for line in begins_and_ends} == set(names)
    assert scene.record() is None
