"""A real Terraform on a real Consul: its commands under its own lock, beside plain ones, after every end."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Consul
from tests.e2e.conftest import GATED, SHORT_LEASE, Stage
from tests.e2e.native import APPLY
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.faults.proxy import FaultProxy
from tests.support.authority import Authority
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


@pytest.mark.slow
@pytest.mark.long
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


def test_in_another_workspace_a_run_holds_terraforms_own_lock(stage: Make) -> None:
    """There Terraform locks also with `-lock=false`. Also after a kill."""
    made = stage("consul", text=GATED)
    created = made.terraform("workspace", "new", "blue")
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    refused, shown = made.terraform("plan", "-input=false", "-no-color"), made.tfguard("status")
    linked = list(made.path.glob(".terraform/tfguard-*"))
    kill_all_of(process)
    made.open_gate()

    taken_over = made.tfguard(*APPLY)
    planned = made.tfguard("plan", "-input=false", "-detailed-exitcode")
    cache = (made.path / ".terraform/terraform.tfstate").read_text()

    assert created.code == 0, str(created)
    assert refused.code == 1 and "failed to lock state in Consul" in refused.err, str(refused)
    assert f"{made.key}-env:blue" in refused.err and f"{made.key}-env:blue" in shown.out
    assert len(linked) == 1
    assert taken_over.code == 0 and "took the lock over" in taken_over.err, str(taken_over)
    assert planned.code in {0, 2}, str(planned)
    assert made.state("blue") is not None and made.state() is None
    assert '"lock": false' not in cache
    assert list(made.path.glob(".terraform/tfguard-*")) == []
    assert made.leftovers() == []


def test_a_fresh_checkout_waits_with_its_init_for_who_holds_another_workspaces_lock(stage: Make) -> None:
    """There `init` takes the lock as well, and no `-lock-timeout` counts."""
    made = stage("consul", text=STILL, is_initialised=False)
    (made.path / "tfguard.yml").write_text("version: 1\npipelines: {app: {dir: ., workspace: blue, approve: auto}}\n")
    held = made.tfguard("-p", "app", "hold", "--reason", "a look")

    busy = made.tfguard("--lock-timeout=1s", "run", "app")
    with running(made.start_tfguard("run", "app")) as ours:
        ours.wait_for("Waiting for it up to 10m")
        ended = made.tfguard(*re.findall(r"^tfguard (.+)", held.err, re.MULTILINE)[-1].split(), "--yes")
        assert ended.code == 0, str(ended)
        result = ours.end()

    assert busy.code == 75 and "is held; gave up after 1s" in busy.err, str(busy)
    assert result.code == 0, str(result)
    assert result.out.count("Initializing the backend...") == 2, str(result)
    assert made.leftovers() == []


def test_in_another_workspace_a_plan_is_saved_by_terraform_and_applied_by_us(stage: Make) -> None:
    """What `plan -out` saves under our lock would let anybody apply it without one."""
    made = stage("consul", text=STILL)
    (made.path / "tfguard.yml").write_text("version: 1\npipelines: {app: {dir: ., workspace: blue, approve: auto}}\n")
    for words in (("new", "blue"), ("new", "red"), ("select", "blue")):
        assert made.terraform("workspace", *words).code == 0

    refused = made.tfguard("plan", "-input=false", "-out=p")
    saved = made.terraform("plan", "-input=false", "-out=p")
    applied = made.tfguard("apply", "-input=false", "p")
    # Its plan leaves the run's own folder as little as the run leaves anything else.
    (made.path / "main.tf").write_text(STILL.replace('"b"', '"c"'))
    ran = made.tfguard("run", "app")
    proved = made.tfguard("doctor", "--prove-lock")
    in_use, deleted = made.tfguard("workspace", "delete", "blue"), made.tfguard("workspace", "delete", "red")

    assert refused.code == 78, str(refused)
    assert "would say lock = false to whoever applies it" in refused.err
    assert "terraform plan -out=FILE" in refused.err
    assert (saved.code, applied.code, ran.code) == (0, 0, 0), f"{saved}{applied}{ran}"
    assert (made.state("blue") or {})["serial"] >= 2
    assert "Terraform itself is refused while we hold the lock" in proved.out, str(proved)
    assert in_use.code == 1 and "is your active workspace" in in_use.err, str(in_use)
    assert deleted.code == 0, str(deleted)
    assert made.state("red") is None
    assert made.leftovers() == []


def test_a_lock_of_the_users_own_name_lies_in_consul_too(stage: Make) -> None:
    made = stage("consul")
    lock = f"lock: {{mode: named, name: blue, store: 'consul://{made.consul.address}/{made.key}-locks'}}"
    (made.path / "tfguard.yml").write_text(f"version: 1\npipelines: {{app: {{dir: ., {lock}}}}}\n")

    guarded = made.tfguard("-p", "app", *APPLY)

    assert guarded.code == 0, str(guarded)
    assert made.state() is not None
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


CLIENT = {"cert_file": "{0}/client.pem", "key_file": "{0}/client.pem"}
#: What the backend says of certificates, how it ends, and what is said; `{0}` is the folder where they lie.
CERTIFICATES: dict[str, tuple[dict[str, str], int, str]] = {
    "its own authority, and ours": ({"ca_file": "{0}/authority.pem", **CLIENT}, 0, ""),
    "another authority": ({"ca_file": "{0}/other/authority.pem", **CLIENT}, 78, "name who has signed it: `ca_file`"),
    "no authority": (CLIENT, 78, "name who has signed it: `ca_file`"),
    "no certificate of ours": ({"ca_file": "{0}/authority.pem"}, 69, "No answer from Consul at https://"),
}


def test_consul_with_tls_is_asked_with_the_certificates_that_terraform_uses(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, _ = Authority(tmp_path), Authority(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain("127.0.0.1"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.chain("client")
    made = stage("consul", text=STILL)
    cache = made.path / ".terraform" / "terraform.tfstate"
    content = json.loads(cache.read_text())
    config = content["backend"]["config"]

    with closing(FaultProxy(made.consul.endpoint, context)) as server:
        results = {}
        for name, (attributes, _, _) in CERTIFICATES.items():
            files = {attribute: path.format(tmp_path) for attribute, path in attributes.items()}
            settings = {"scheme": "https", "address": server.endpoint.removeprefix("https://"), **files}
            made.write(STILL, **{attribute: json.dumps(value) for attribute, value in settings.items()})
            content["backend"]["config"] = {**config, **settings}
            cache.write_text(json.dumps(content))
            results[name] = made.tfguard("--lock-timeout=0s", *APPLY, TFGUARD_INIT="never")

    for name, (_, code, words) in CERTIFICATES.items():
        said = [line for line in results[name].err.splitlines() if line.strip() and "run.finished" not in line]
        assert results[name].code == code, f"{name}: {results[name]}"
        assert words in results[name].err, f"{name}: {results[name]}"
        assert len(said) <= 3, f"{name}: {results[name]}"
    assert made.resources() == ["terraform_data.a", "terraform_data.b"]
    assert made.leftovers() == []


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
