"""Beside a plain Terraform and OpenTofu: they are refused by our lock, we wait for theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.e2e.conftest import BACKENDS, GATED, Backend, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")
#: A heartbeat each second or so: that soon a force-unlock is noticed.
QUICK_BEATS = {"TFGUARD_LOCK_LEASE": "18s"}


def assert_one_after_the_other(made: Stage, runs: int) -> None:
    assert made.log_lines() == ["begin", "end"] * runs
    assert made.leftovers() == []
    assert made.wrong_digests() == []


# --- we hold --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plain_terraform_is_refused_and_shown_our_run(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        lock = made.locks()[0]
        refused = made.terraform("plan", "-input=false", "-no-color")
        made.open_gate()
        result = ours.end()

    assert refused.code == 1
    assert "Error acquiring the state lock" in refused.err
    for shown in (f"ID:        {lock['ID']}", f"Who:       {lock['Who']}", "Operation: OperationTypeApply", "tfguard "):
        assert shown in refused.err, str(refused)
    assert result.code == 0, str(result)
    assert_one_after_the_other(made, 1)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_a_plain_terraform_with_a_lock_timeout_waits_and_then_runs(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert_one_after_the_other(made, 1)


@pytest.mark.parametrize(
    ("by", "backend"), [("terraform", "dynamodb"), ("terraform", "s3"), ("terraform", "both"), ("tfguard", "both")]
)
def test_a_force_unlock_ends_the_run_with_76_and_says_so(stage: Make, backend: Backend, by: str) -> None:
    made = stage(backend, text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        unlock = ("force-unlock", "-force", made.locks()[0]["ID"])
        unlocked = made.terraform(*unlock) if by == "terraform" else made.tfguard(*unlock)
        result = ours.end()

    assert unlocked.code == 0, str(unlocked)
    assert result.code == 76, str(result)
    assert "the lock was lost: somebody unlocked it while we held it" in result.err
    assert "outcome=lock-lost" in result.err
    assert made.state() is not None, "Terraform was stopped, not killed: it has written its state"
    assert made.leftovers() == []
    assert made.wrong_digests() == []


def test_whoever_comes_after_a_force_unlock_keeps_his_lock(stage: Make) -> None:
    made = stage("both", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as first:
        first.wait_for_work(made)
        made.terraform("force-unlock", "-force", made.locks()[0]["ID"])
        with running(made.start(["terraform", *APPLY, "-lock-timeout=10m"])) as second:
            eventually(lambda: len(made.locks()) == 2, 60, "the other's lock")
            theirs = made.locks()
            lost = first.end()
            kept = made.locks()
            made.open_gate()
            result = second.end()

    assert lost.code == 76, str(lost)
    assert kept == theirs
    assert result.code == 0, str(result)
    assert made.leftovers() == []


# --- they hold ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_we_wait_for_a_plain_terraform_show_it_and_then_run(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        lock = made.locks()[0]
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            shown = ours.err
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert f"is held by {lock['Who']} (apply, " in shown
    assert "plain Terraform, no heartbeat" in shown
    assert_one_after_the_other(made, 2)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_who_gives_up_waiting_exits_75_with_the_facts(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)
    ways = {
        "at once": (("--lock-timeout=0s", "plan"), {}),
        "from argv": (("plan", "-lock-timeout=1s"), {}),
        "from the environment": (("plan",), {"TF_CLI_ARGS_plan": "-lock-timeout=1s"}),
    }

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        lock = made.locks()[0]
        results = {way: made.tfguard(*words, **environ) for way, (words, environ) in ways.items()}
        still = made.locks()
        made.open_gate()
        other = theirs.end()

    for way, result in results.items():
        assert result.code == 75, f"{way}: {result}"
        assert f"is held by {lock['Who']}" in result.err
        assert "plain Terraform, no heartbeat" in result.err
        assert "outcome=lock-timeout" in result.err
    assert "did not wait" in results["at once"].err
    for way in ("from argv", "from the environment"):
        assert re.search(r"gave up after \d+s", results[way].err), str(results[way])
    assert lock in still
    assert other.code == 0
    assert_one_after_the_other(made, 1)


@pytest.mark.parametrize("backend", ["both", "local"])
def test_two_of_us_wait_for_each_other_and_show_who_it_is(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)

    with running(made.start_tfguard(*APPLY)) as first:
        first.wait_for_work(made)
        with running(made.start_tfguard(*APPLY)) as second:
            second.wait_for("Waiting up to")
            shown = second.err
            made.open_gate()
            results = first.end(), second.end()

    assert [result.code for result in results] == [0, 0], f"{results[0]}{results[1]}"
    assert "is held by" in shown
    assert "plain Terraform" not in shown
    assert_one_after_the_other(made, 2)


# --- OpenTofu -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tofu_stage(stage: Make, tofu: str) -> Stage:
    """A directory on DynamoDB, initialised by OpenTofu and worked on by it."""
    made = stage("dynamodb", text=GATED, is_initialised=False)
    made.environ["TFGUARD_TERRAFORM"] = tofu
    initialised = made.run([tofu, "init", "-input=false"])
    assert initialised.code == 0, str(initialised)
    return made


def test_a_plain_opentofu_is_refused_and_waits(tofu_stage: Stage, tofu: str) -> None:
    made = tofu_stage

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        lock = made.locks()[0]
        refused = made.run([tofu, "plan", "-input=false", "-no-color"])
        with running(made.start([tofu, "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1
    assert lock["ID"] in refused.err and lock["Who"] in refused.err, str(refused)
    assert lock["Version"] == "1.6.2"
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert_one_after_the_other(made, 1)


def test_we_wait_for_a_plain_opentofu(tofu_stage: Stage, tofu: str) -> None:
    made = tofu_stage

    with running(made.start([tofu, *APPLY])) as theirs:
        theirs.wait_for_work(made)
        gave_up = made.tfguard("--lock-timeout=0s", "plan")
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert gave_up.code == 75, str(gave_up)
    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert_one_after_the_other(made, 2)


def test_opentofus_force_unlock_frees_our_lock(tofu_stage: Stage, tofu: str) -> None:
    made = tofu_stage

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        unlocked = made.run([tofu, "force-unlock", "-force", made.locks()[0]["ID"]])
        result = ours.end()

    assert unlocked.code == 0, str(unlocked)
    assert result.code == 76, str(result)
    assert made.leftovers() == []


def test_the_lock_info_is_what_go_would_write_and_stays_so_over_heartbeats(stage: Make) -> None:
    made = stage("dynamodb", text=GATED)

    def item() -> dict[str, dict[str, str]]:
        return made.dynamodb.item(made.table, f"{made.bucket}/{made.key}") or {}

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        first = item()
        later = eventually(lambda: item() if item() != first else None, 60, "a heartbeat")
        made.open_gate()
        result = ours.end()

    # OpenTofu 1.10 and later delete only what equals its own encoding of what it has read.
    info = json.loads(first["Info"]["S"])
    assert list(info) == ["ID", "Operation", "Info", "Who", "Version", "Created", "Path"]
    assert first["Info"]["S"] == json.dumps(info, separators=(",", ":"), ensure_ascii=False)
    assert not info["Created"].removesuffix("Z").endswith("0") or "." not in info["Created"]
    assert later["Info"] == first["Info"]
    assert result.code == 0, str(result)
