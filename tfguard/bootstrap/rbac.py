"""
What a run may do in Kubernetes, and nothing more: Roles for who plans, and for who applies, in a state's namespace.

The lock takes the same in both, since a plan holds it too. Neither names single objects: the label by which Terraform
lists its states, and the parts of a large one, would not be among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.text import printable

KIND = "kubernetes"


def roles(config: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Give both Roles, as a list that `kubectl apply` takes. The namespace is the backend's, or the variable's."""
    namespace = config.get("namespace") or environ.get("KUBE_NAMESPACE") or "default"
    items = [_role(f"tfguard-{who}", namespace, state) for who, state in _STATE.items()]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def wrong_backend(kind: str) -> str:
    """Say that these Roles are for Kubernetes alone."""
    return (
        f"The backend is {printable(kind, 20)}, and these Roles are for Kubernetes.\n"
        "For an s3 backend: tfguard bootstrap --print iam"
    )


_STATE = {"plan": ["get", "list"], "apply": ["get", "list", "create", "update"]}
_LOCK = ["get", "create", "update", "watch"]


def _role(name: str, namespace: str, state: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": state},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": _LOCK},
        ],
    }
