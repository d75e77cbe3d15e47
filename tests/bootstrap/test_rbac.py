from __future__ import annotations

from tfguard.bootstrap.rbac import roles, wrong_backend


def test_who_plans_may_change_the_lock_and_not_the_state() -> None:
    found = roles({"namespace": None}, {"KUBE_NAMESPACE": "tf"})["items"]

    assert [role["metadata"] for role in found] == [
        {"name": "tfguard-plan", "namespace": "tf"},
        {"name": "tfguard-apply", "namespace": "tf"},
    ]
    verbs = [[(rule["resources"], rule["verbs"]) for rule in role["rules"]] for role in found]
    lock = (["leases"], ["get", "create", "update", "watch"])
    assert verbs == [
        [(["secrets"], ["get", "list"]), lock],
        [(["secrets"], ["get", "list", "create", "update"]), lock],
    ]


def test_another_backend_is_told_so_in_two_lines() -> None:
    assert wrong_backend("s3").startswith("The backend is s3, and these Roles are for Kubernetes.\n")
