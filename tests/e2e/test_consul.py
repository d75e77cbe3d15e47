"""
A real Terraform on a real Consul: its commands under its own lock, beside plain ones, after every end.

Short here; `TFGUARD_CONSUL_SECONDS=120` is the long form.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Consul
from tests.e2e.conftest import GATED, SHORT_LEASE, Stage
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_chaos import WORK as COUNTED
from tests.e2e.test_commands import STILL
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")
#: How long several work beside each other, where that is to be long.
SECONDS = float(os.environ.get("TFGUARD_CONSUL_SECONDS", "0"))
QUICK_BEATS = {"TFGUARD_LOCK_LEASE": "18s"}


def test_terraforms_commands_run_under_our_lock_from_the_first_run_on(stage: Make) -> None:
    """One state from nothing to nothing again: each command would be refused if it took a lock of its own."""
    made = stage("consul", text=STILL)
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


def test_a_plain_terraform_is_refused_and_shown_our_run_and_one_that_waits_gets_in(stage: Make) -> None:
    made = stage("consul", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        lock = made.locks()[0]
        refused = made.terraform("plan", "-input=false", "-no-color")
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1
    assert lock["ID"] in refused.err and lock["Who"] in refused.err, str(refused)
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert made.leftovers() == []


def test_we_wait_for_a_plain_terraform_show_it_and_then_run(stage: Make) -> None:
    made = stage("consul", text=GATED)

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        lock = made.locks()[0]
        gave_up = made.tfguard("--lock-timeout=0s", "plan")
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            shown = ours.err
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert gave_up.code == 75, str(gave_up)
    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert f"is held by {lock['Who']} (apply, " in shown
    assert "plain Terraform, no heartbeat" in shown
    assert made.log_lines() == ["begin", "end"] * 2
    assert made.leftovers() == []


@pytest.mark.parametrize("by", ["terraform", "tfguard"])
def test_a_force_unlock_ends_us_with_76(stage: Make, by: str) -> None:
    made = stage("consul", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock_id = made.locks()[0]["ID"]
        if by == "terraform":
            unlocked = made.terraform("force-unlock", "-force", lock_id)
        else:
            unlocked = made.tfguard("unlock", "--id", lock_id, "--yes", "--force", "--reason", "it hangs")
        assert unlocked.code == 0, str(unlocked)
        result = ours.end()

    assert result.code == 76, str(result)
    assert "the lock was lost: somebody unlocked it while we held it" in result.err
    assert made.state() is not None, "Terraform was stopped, not killed: it has written its state"
    assert made.leftovers() == []


def test_after_a_kill_of_all_of_a_run_the_next_takes_its_lock_over(stage: Make) -> None:
    made = stage("consul", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    dead = made.locks()[0]
    kill_all_of(process)
    held_by = made.consul.holder(made.key)
    made.open_gate()

    result = made.tfguard(*APPLY)

    assert held_by, "its session lives for a lease at least"
    assert result.code == 0, str(result)
    assert "outcome=succeeded" in result.err
    assert dead["Who"] in result.err
    assert made.leftovers() == []


@pytest.mark.slow
@pytest.mark.skipif(not SECONDS, reason="the end of a session takes half a minute: see make soak")
def test_a_session_that_is_renewed_outlives_its_ttl_and_one_that_is_not_ends(stage: Make) -> None:
    """Consul itself frees a dead run's lock, between one and two leases after its end; a living one's never."""
    made = stage("consul", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE="10s")
    made.wait_for_log("begin")
    first = made.consul.holder(made.key)
    time.sleep(21)  # What is tried is that nothing happens: a TTL of 10 s ends after 20 at the latest.
    still = made.consul.holder(made.key)
    kill_all_of(process)

    eventually(lambda: not made.consul.holder(made.key), 60, "the end of the dead one's session")
    made.open_gate()
    plain = made.terraform(*APPLY)

    assert (first, plain.code) == (still, 0), str(plain)


def test_two_of_us_and_a_plain_terraform_never_overlap(stage: Make) -> None:
    made = stage("consul", text=COUNTED)
    until = time.monotonic() + (SECONDS or 6)
    codes: dict[str, list[int]] = {"ours": [], "plain": []}

    def work(kind: str, apply: Callable[[], int]) -> None:
        while time.monotonic() < until:
            codes[kind].append(apply())

    clients = [
        threading.Thread(target=work, args=("ours", lambda: made.tfguard(*APPLY).code)),
        threading.Thread(target=work, args=("ours", lambda: made.tfguard(*APPLY).code)),
        threading.Thread(target=work, args=("plain", lambda: made.terraform(*APPLY, "-lock-timeout=10m").code)),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(SECONDS + patience(60))

    assert "OVERLAP" not in (made.path / "log").read_text()
    assert codes["ours"] and set(codes["ours"]) == {0}, codes
    assert codes["plain"] and set(codes["plain"]) == {0}, codes
    assert (made.state() or {})["serial"] >= len(codes["ours"]) + len(codes["plain"])
    assert made.leftovers() == []


def test_another_workspace_is_refused_and_guarded_under_a_name_in_consul_itself(stage: Make) -> None:
    made = stage("consul")
    created = made.terraform("workspace", "new", "blue")

    refused = made.tfguard("plan", "-input=false")
    store = f"consul://{made.consul.address}/{made.key}-locks"
    lock = f"lock: {{mode: named, name: blue, store: '{store}'}}"
    (made.path / "tfguard.yml").write_text(f"version: 1\npipelines: {{app: {{dir: ., workspace: blue, {lock}}}}}\n")
    guarded = made.tfguard("-p", "app", "apply", "-auto-approve", "-input=false")

    assert created.code == 0, str(created)
    assert refused.code == 78
    assert "only the default workspace's lock can be held; in blue" in refused.err
    assert "mode: named" in refused.err
    assert guarded.code == 0, str(guarded)
    assert made.state("blue") is not None
    assert made.consul.value(f"{made.key}-locks/blue/.tfguard") is not None
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"address": '"127.0.0.1:1"'}, 69, "No answer from Consul at http://127.0.0.1:1"),
        ({"datacenter": '"nowhere"'}, 78, "No path to datacenter"),
        ({"scheme": '"https"'}, 69, "No answer from Consul at https://"),
        ({"scheme": '"https"', "ca_file": '"no.pem"'}, 78, "The certificates of"),
        ({"lock": "false"}, 78, "lock = false"),
    ],
    ids=["nobody there", "datacenter", "no TLS there", "no such CA", "no lock"],
)
def test_what_is_wrong_with_the_backend_is_said_in_two_lines(
    stage: Make, settings: dict[str, str], code: int, words: str
) -> None:
    made = stage("consul")
    cache = made.path / ".terraform" / "terraform.tfstate"
    content = json.loads(cache.read_text())
    content["backend"]["config"].update({name: json.loads(value) for name, value in settings.items()})
    cache.write_text(json.dumps(content))
    made.write(**settings)

    result = made.tfguard("--lock-timeout=0s", "plan", "-input=false", TFGUARD_INIT="never")

    said = [line for line in result.err.splitlines() if line.strip() and "run.finished" not in line]
    assert result.code == code, str(result)
    assert words in result.err
    assert len(said) <= 3, result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("token", ["", "11111111-2222-3333-4444-555555555555"], ids=["no token", "an unknown token"])
def test_who_is_denied_is_told_so_with_77(stage: Make, token: str, guarded_consul: Consul, tmp_path: Path) -> None:
    made = stage("consul", is_initialised=False)
    made.consul = guarded_consul
    made.write()
    assert made.terraform("init", "-input=false", CONSUL_HTTP_TOKEN=guarded_consul.token).code == 0

    denied = made.tfguard("--lock-timeout=0s", "plan", "-input=false", CONSUL_HTTP_TOKEN=token)
    allowed = made.tfguard("plan", "-input=false", CONSUL_HTTP_TOKEN=guarded_consul.token)

    assert denied.code == 77, str(denied)
    assert "CONSUL_HTTP_TOKEN" in denied.err
    assert allowed.code == 0, str(allowed)
    assert guarded_consul.token not in denied.err + allowed.err


def test_the_rules_that_bootstrap_prints_are_enough_and_no_more(stage: Make, guarded_consul: Consul) -> None:
    made = stage("consul", is_initialised=False)
    made.consul = guarded_consul
    made.write()
    printed = made.tfguard("bootstrap", "--print", "acl")
    _, _, rules = printed.out.partition("### plan\n")
    plan, _, apply = rules.partition("### apply\n")
    planner, applier = guarded_consul.token_for(plan), guarded_consul.token_for(apply)

    results = [
        made.terraform("init", "-input=false", CONSUL_HTTP_TOKEN=planner),
        made.tfguard("plan", "-input=false", CONSUL_HTTP_TOKEN=planner),
        made.tfguard(*APPLY, CONSUL_HTTP_TOKEN=applier),
        made.tfguard("plan", "-input=false", CONSUL_HTTP_TOKEN=planner),
    ]
    checked = made.tfguard("doctor", CONSUL_HTTP_TOKEN=planner)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        Consul(guarded_consul.endpoint, planner).ask("PUT", f"kv/{made.key}", b"another state")

    assert printed.code == 0, str(printed)
    assert [result.code for result in results] == [0] * 4, "\n".join(map(str, results))
    assert "⚠" not in checked.out and "✗" not in checked.out, str(checked)
    assert made.consul.holder(made.key) == ""
