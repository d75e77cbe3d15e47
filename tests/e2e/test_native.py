"""
A real Terraform on the backends whose own lock we hold beyond AWS: what is the same on each, as one test.

`test_gcs`, `test_consul`, `test_azurerm` and `test_pg` have what sets them apart.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Result, Stage
from tests.e2e.native import APPLY, QUICK_BEATS, generation, inner_id
from tests.e2e.operated import kill_all_of
from tests.e2e.runners import cancel_on_github
from tests.e2e.running import running
from tests.e2e.test_chaos import WORK as COUNTED
from tests.e2e.test_commands import STILL
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: How long several work beside each other.
SECONDS = float(os.environ.get("TFGUARD_BESIDE_SECONDS", "3"))


@dataclass(frozen=True)
class Native:
    """
    One kind of backend. `shown` is the ID by which Terraform itself knows the lock that is held now; empty if none is.

    `forget_state` brings about what comes before a state's first run. `is_gitlab`: it refuses the writes of a run whose
    lock is gone, and tells hardly more of a lock than its ID.
    """

    kind: str
    shown: Callable[[Stage], str]
    forget_state: Callable[[Stage], object] = lambda _: None
    is_gitlab: bool = False
    #: A pattern of what a plain Terraform says that came at the wrong moment, also beside another of its kind. It ran
    #: nothing.
    unlucky: str = ""


CONSUL = Native("consul", lambda made: made.locks()[0]["ID"] if made.consul.holder(made.key) else "")
GCS = Native(
    "gcs",
    generation,
    lambda made: made.gcs.delete(made.bucket, f"{made.key}/default.tfstate"),
    unlucky="storage: object doesn't exist",  # The lock that refused it is gone when it looks whose that was.
)
KUBERNETES = Native(
    "kubernetes",
    lambda made: made.locks()[0]["ID"] if made.locks() else "",
    lambda made: made.kubernetes.delete("secrets", made.bucket, f"tfstate-default-{made.key}"),
    unlucky="the object has been modified",  # It read a free Lease just before we took that.
)
GITLAB = Native("gitlab", lambda made: made.states.lock_of(made.key), is_gitlab=True)
#: There Terraform locks by itself, with our record beside it: `shown` is the ID of Terraform's own lock.
AZURE = Native(
    "azurerm",
    inner_id,
    lambda made: made.azure.delete(made.bucket, made.key),
    unlucky="Error acquiring the state lock|failed to lock azure state",
)
PG = Native("pg", lambda made: "".join(lock["ID"] for lock in made.locks()))
each = pytest.mark.parametrize("native", [CONSUL, GCS, GITLAB, KUBERNETES, AZURE, PG], ids=lambda native: native.kind)
#: Where a lock says who holds it, also a plain Terraform's.
each_with_its_own_info = pytest.mark.parametrize(
    "native", [CONSUL, GCS, GITLAB, KUBERNETES, AZURE], ids=lambda native: native.kind
)
#: Where what Terraform shows of our lock is ours.
each_of_ours = pytest.mark.parametrize("native", [CONSUL, GCS, GITLAB, KUBERNETES], ids=lambda native: native.kind)


@each
def test_terraforms_commands_run_under_our_lock_from_the_first_run_on(stage: Make, native: Native) -> None:
    """One state from nothing to nothing again: each command would be refused if it took a lock of its own."""
    made = stage(native.kind, text=STILL)
    native.forget_state(made)
    commands: list[tuple[tuple[str, ...], int]] = [
        (("plan", "-input=false", "-detailed-exitcode"), 2),
        (APPLY, 0),
        (("plan", "-input=false", "-out=p"), 0),
        (("apply", "-input=false", "p"), 0),
        (("state", "mv", "terraform_data.b", "terraform_data.moved"), 0),
        (("import", "-input=false", "terraform_data.b", "some-id"), 0),
        (("destroy", "-auto-approve"), 0),
    ]

    results = [made.tfguard(*words) for words, _ in commands]

    assert [result.code for result in results] == [code for _, code in commands], "\n".join(map(str, results))
    assert made.resources() == []
    assert made.leftovers() == []
    history = made.tfguard("history").out
    assert history.count("succeeded") == len(commands) - 1, f"all but a first plan, which leaves nothing:\n{history}"


@each_of_ours
def test_a_plain_terraform_is_refused_and_shown_our_run_and_one_that_waits_gets_in(stage: Make, native: Native) -> None:
    made = stage(native.kind, text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock, shown = made.locks()[0], native.shown(made)
        status = made.tfguard("status", "--json")
        refused = made.terraform("plan", "-input=false", "-no-color")
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            later = native.shown(made)
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1
    told = (f"ID:        {shown}", f"Who:       {lock['Who']}", "Operation: OperationTypeApply", "tfguard ")
    for words in ("already locked", shown) if native.is_gitlab else told:
        assert words in refused.err, str(refused)
    assert later == shown, "a heartbeat leaves the ID that somebody was shown as it is"
    seen = json.loads(status.out)["locks"][0]
    assert (seen["id"], seen.get("force_unlock_id") or seen["id"]) == (lock["ID"], shown), status.out
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert made.leftovers() == []


@each_with_its_own_info
def test_we_wait_for_a_plain_terraform_show_it_and_then_run(stage: Make, native: Native) -> None:
    made = stage(native.kind, text=GATED)

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        lock, shown = made.locks()[0], native.shown(made)
        gave_up = made.tfguard("--lock-timeout=0s", "plan")
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            told = ours.err
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert gave_up.code == 75, str(gave_up)
    assert shown in gave_up.err, "the ID is the one that Terraform itself shows"
    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert f"is held by {lock['Who']} ({'' if native.is_gitlab else 'apply, '}" in told
    assert "plain Terraform, no heartbeat" in told
    assert made.log_lines() == ["begin", "end"] * 2
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("native", "by"),
    [
        (AZURE, "tfguard, our ID"),
        (AZURE, "tfguard, Terraform's"),
        *((native, by) for native in (CONSUL, GCS, GITLAB, KUBERNETES) for by in ("terraform", "tfguard, our ID")),
        (GCS, "tfguard, Terraform's"),  # Of the others it is ours.
        (PG, "tfguard, our ID"),  # Terraform's own does nothing there.
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_a_force_unlock_ends_us_with_76(stage: Make, native: Native, by: str) -> None:
    made = stage(native.kind, text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock_id, shown = made.locks()[0]["ID"], native.shown(made)
        if by == "terraform":
            unlocked = made.terraform("force-unlock", "-force", shown)
        else:
            wanted = lock_id if by == "tfguard, our ID" else shown
            unlocked = made.tfguard("unlock", "--id", wanted, "--yes", "--force", "--reason", "it hangs")
        assert unlocked.code == 0, str(unlocked)
        result = ours.end()

    assert result.code == 76, str(result)
    assert "the lock was lost: somebody unlocked it while we held it" in result.err
    assert (made.state() is None) is native.is_gitlab, "Terraform was stopped, not killed: it has written its state"
    assert made.leftovers() == []


@each
def test_after_a_kill_of_all_of_a_run_the_next_takes_its_lock_over(stage: Make, native: Native) -> None:
    made = stage(native.kind, text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    dead = made.locks()[0]
    kill_all_of(process)
    still = native.shown(made)
    made.open_gate()

    result = made.tfguard(*APPLY)

    assert still, "the lock outlives its run: in Consul, its session for a lease at least"
    assert result.code == 0, str(result)
    assert "outcome=succeeded" in result.err
    assert dead["Who"] in result.err
    assert made.leftovers() == []


@pytest.mark.parametrize("native", [CONSUL, GCS, KUBERNETES, PG], ids=lambda native: native.kind)
def test_a_cancel_on_github_leaves_a_whole_state_and_no_lock(stage: Make, native: Native) -> None:
    """SIGINT, SIGTERM, SIGKILL to the front alone, until it is gone."""
    made = stage(native.kind, text=GATED)
    process = made.start_tfguard(*APPLY, GITHUB_ACTIONS="true", CI="true")
    made.wait_for_log("begin")
    held = made.locks()

    with running(process) as ours:
        cancel_on_github(process)
        ours.end()
    eventually(lambda: made.leftovers() == [], 60, "the lock's release")

    assert len(held) == 1
    assert made.log_lines() == ["begin"]
    assert made.resources() == ["terraform_data.work"], "it was asked once, and had its time"
    assert made.terraform("plan", "-input=false").code == 0


@pytest.mark.slow
@each
def test_two_of_us_and_a_plain_terraform_never_overlap(stage: Make, native: Native) -> None:
    made = stage(native.kind, text=COUNTED)
    until = time.monotonic() + SECONDS
    ours: list[Result] = []
    plain: list[Result] = []

    def work(ended: list[Result], apply: Callable[[], Result]) -> None:
        while time.monotonic() < until:
            ended.append(apply())

    clients = [
        threading.Thread(target=work, args=(ours, lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=(ours, lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=(plain, lambda: made.terraform(*APPLY, "-lock-timeout=10m"))),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(SECONDS + patience(60))
    ran = [result for result in plain if not (native.unlucky and re.search(native.unlucky, result.err))]
    serial = (made.state() or {})["serial"]
    told = f"{len(ours)} applies by tfguard, {len(plain)} plain, {len(plain) - len(ran)} of them unlucky"
    print(f"figures: beside: {SECONDS:.0f} s on {native.kind}: {told}; serial {serial}; no overlap")

    assert "OVERLAP" not in (made.path / "log").read_text()
    assert ours and {result.code for result in ours} == {0}, "\n".join(map(str, ours))
    assert {result.code for result in ran} <= {0}, "\n".join(map(str, ran))
    assert serial >= len(ours) + len(ran)
    assert made.leftovers() == []
    if native.is_gitlab:  # Of each record of ours one version is kept.
        assert {len(made.states.serials(f"{made.key}-tfguard{end}")) for end in ("", "-queue")} == {1}
