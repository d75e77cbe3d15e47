"""Terraform's kubernetes backend, as `backends.Backend` asks for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.kubernetes.locate import access_of, kubernetes_lock
from tfguard.backends.kubernetes.spec import KubernetesSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

requires = ()
urls = {"k8s": "k8s://NAMESPACE/PREFIX"}
fetch = "kubectl get secret {} -o go-template='{{{{.data.tfstate}}}}' | base64 -d | gunzip >"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return kubernetes_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Take a Lease that is called after `prefix/name`; the cluster is the environment's, as for Terraform's backend.

        k8s://locks/team?context=prod
    """
    options = url.options("context")
    namespace = url.parts.netloc
    if not _NAMESPACE.fullmatch(namespace):
        raise url.wrong("names no namespace.")
    prefix = unquote(url.parts.path).strip("/")
    access = access_of(Attributes({"config_context": options.get("context")}, "lock.store"), Path.cwd(), environ)
    lock = lease_name(f"{prefix}/{name}" if prefix else name)
    return KubernetesSpec(namespace=namespace, name=lock, kubernetes=access)


def lease_name(name: str) -> str:
    """Return what the Lease of a name is called: a name of Kubernetes' own, and another one for each name."""
    readable = re.sub("[^a-z0-9]+", "-", name.lower())[:100].strip("-") or "lock"
    return f"tfguard-{readable}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - each client finds its own
    """Return the locks that are held in the same namespace, each by its state's Secret, as `Backend` has it."""
    from tfguard.backends.kubernetes.client import Client
    from tfguard.backends.kubernetes.store import INFO

    assert isinstance(spec, KubernetesSpec)
    with closing(Client(spec.kubernetes, spec.namespace)) as client:
        names = [
            about.name
            for about, lease in client.named("leases")
            if lease.holder is not None and INFO in (about.annotations or {})
        ]
    for name in names:
        yield f"{spec.namespace}/{name.removeprefix('lock-')}", msgspec.structs.replace(spec, name=name)


def checks() -> Checks:
    """Return the checks of permissions."""
    from tfguard.backends.kubernetes.checks import CHECKS

    return CHECKS
