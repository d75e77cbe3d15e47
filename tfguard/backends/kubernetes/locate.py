"""From the kubernetes backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec, KubernetesState, SecretProbe
from tfguard.backends.target import Target
from tfguard.errors import ConfigError
from tfguard.text import printable

_DEFAULT_NAMESPACE = "default"
_LOCK = "lock-"
#: What Go's strconv.ParseBool takes for true.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def kubernetes_lock(settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target:
    """Find the lock of a workspace. Raises ConfigError for a `secret_suffix` that Terraform does not take."""
    suffix = settings.required("secret_suffix")
    if suffix.rpartition("-")[2].isdecimal() and "-" in suffix:
        raise ConfigError(
            f"The kubernetes backend's secret_suffix {printable(suffix, 40)!r} ends in a number after a dash.",
            "Terraform takes such a name for a part of a larger state. Choose another in its backend block.",
        )
    access = access_of(settings, directory, environ)
    namespace = settings.text("namespace") or environ.get("KUBE_NAMESPACE", "") or _DEFAULT_NAMESPACE
    name = f"tfstate-{workspace}-{suffix}"
    labels = {
        "tfstate": "true",
        "tfstateSecretSuffix": suffix,
        "tfstateWorkspace": workspace,
        "app.kubernetes.io/managed-by": "terraform",
        **settings.pairs("labels"),
    }
    state = KubernetesState(namespace=namespace, name=name, kubernetes=access)
    lock = KubernetesSpec(namespace=namespace, name=_LOCK + name, labels=labels, kubernetes=access)
    return Target(
        label=printable(f"{namespace}/{name}"),
        path=f"{namespace}/{name}",
        backend="kubernetes",
        workspace=workspace,
        stores=(lock,),
        probe=SecretProbe(workspace=workspace, state=state),
        state=state,
    )


def access_of(settings: Attributes, directory: Path, environ: Mapping[str, str]) -> KubernetesAccess:
    """Say how the cluster is reached, in Terraform's order: the backend, then its variables. Not KUBECONFIG."""

    def said(name: str, variable: str) -> str:
        return settings.text(name) or environ.get(variable, "")

    def flag(name: str, variable: str) -> bool:
        found = settings.flag(name)
        return environ.get(variable, "") in _TRUE if found is None else found

    one = said("config_path", "KUBE_CONFIG_PATH")
    several = settings.texts("config_paths") or tuple(environ.get("KUBE_CONFIG_PATHS", "").split(os.pathsep))
    paths = (one,) if one else several
    return KubernetesAccess(
        config_paths=tuple(os.path.join(directory, os.path.expanduser(path)) for path in paths if path),
        context=said("config_context", "KUBE_CTX"),
        context_user=said("config_context_auth_info", "KUBE_CTX_AUTH_INFO"),
        context_cluster=said("config_context_cluster", "KUBE_CTX_CLUSTER"),
        in_cluster=flag("in_cluster_config", "KUBE_IN_CLUSTER_CONFIG"),
        host=said("host", "KUBE_HOST"),
        username=said("username", "KUBE_USER"),
        password=said("password", "KUBE_PASSWORD"),
        token=said("token", "KUBE_TOKEN"),
        client_certificate=said("client_certificate", "KUBE_CLIENT_CERT_DATA"),
        client_key=said("client_key", "KUBE_CLIENT_KEY_DATA"),
        ca_certificate=said("cluster_ca_certificate", "KUBE_CLUSTER_CA_CERT_DATA"),
        insecure=flag("insecure", "KUBE_INSECURE"),
        proxy_url=said("proxy_url", "KUBE_PROXY_URL"),
        has_exec=settings.block("exec") is not None,
    )
