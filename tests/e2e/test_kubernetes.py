"""A real Terraform on its kubernetes backend, as far as that is not as on the others: `test_native` has the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.native import APPLY
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
    doctor = made.tfguard("doctor")

    assert held.code == 0, str(held)
    assert f"{made.bucket}/tfstate-default-{made.key}" in beside.out, str(beside)
    assert denied.code == 1
    assert freed.code == 0, str(freed)
    assert "leases get, create, update: allowed, and tried on a scratch lock" in doctor.out, str(doctor)
    assert "leases watch: allowed" in doctor.out
    assert made.leftovers() == []
