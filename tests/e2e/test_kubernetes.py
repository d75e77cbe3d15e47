"""A real Terraform on its kubernetes backend, as far as that is not as on the others: `test_native` has the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.native import APPLY
from tests.e2e.running import running
from tests.e2e.test_commands import STILL

pytestmark = pytest.mark.e2e


def test_a_workspace_comes_and_goes_under_our_lock_and_the_lease_goes_with_it(
    stage: Callable[..., Stage],
) -> None:
    made = stage("kubernetes", text=STILL)
    lease = f"lock-tfstate-blue-{made.key}"

    results = [
        made.tfguard("workspace", "new", "blue"),
        made.tfguard(*APPLY),
        made.tfguard("workspace", "select", "default"),
        made.tfguard("workspace", "delete", "-force", "blue"),
    ]

    assert [result.code for result in results] == [0, 0, 0, 0], "\n".join(map(str, results))
    assert "outcome=succeeded" in results[-1].err
    assert made.state("blue") is None
    assert lease not in made.kubernetes.leases(made.bucket), "Terraform has deleted it"
    assert made.leftovers() == []


def test_doctor_and_status_speak_of_the_lease(stage: Callable[..., Stage]) -> None:
    made = stage("kubernetes", text=STILL)
    held = made.tfguard("hold", "--for", "10m", "--reason", "looking")
    beside = made.tfguard("status", "--backend")
    denied = made.terraform("plan", "-input=false")
    freed = made.tfguard("unlock", "--id", made.locks()[0]["ID"], "--yes", "--force", "--reason", "seen enough")
    doctor = made.tfguard("doctor", "--prove-lock")

    assert held.code == 0, str(held)
    assert f"{made.bucket}/tfstate-default-{made.key}" in beside.out, str(beside)
    assert denied.code == 1
    assert freed.code == 0, str(freed)
    assert "leases get, create, update: allowed, and tried on a scratch lock" in doctor.out, str(doctor)
    assert "leases watch: allowed" in doctor.out
    assert "Terraform itself is refused while we hold the lock" in doctor.out.splitlines()[-1]
    assert made.leftovers() == []


def test_a_named_lock_in_a_namespace_keeps_others_of_that_name_out(stage: Callable[..., Stage]) -> None:
    made = stage("kubernetes", is_initialised=False)
    made.environ |= {"KUBE_HOST": made.kubernetes.endpoint, "KUBE_TOKEN": "token"}
    where = ("--name", "deploy", "--store", f"k8s://{made.bucket}/locks")

    script = "echo in; until test -e gate; do sleep 0.05; done"
    with running(made.start_tfguard("exec", *where, "--", "sh", "-c", script)) as ours:
        ours.wait_for("in\n")
        names = list(made.kubernetes.leases(made.bucket))
        refused = made.tfguard("--lock-timeout=0s", "exec", *where, "--", "true")
        made.open_gate()
        result = ours.end()
    again = made.tfguard("--lock-timeout=0s", "exec", *where, "--", "true")

    assert (result.code, refused.code, again.code) == (0, 75, 0), f"{result}{refused}{again}"
    assert "deploy is held by" in refused.err
    assert any(name.startswith("tfguard-locks-deploy-") for name in names), names
