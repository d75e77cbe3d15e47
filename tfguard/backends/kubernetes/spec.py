"""Where a lock and its state lie in Kubernetes, and how that is reached: plain data that crosses the socket."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tfguard.backends.spec import LockSpec, Probe, StateSpec
from tfguard.lock.names import probe_suffix
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from datetime import datetime

    from tfguard.backends import spec


class KubernetesAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach the cluster for this backend: the backend's attributes, and Terraform's own variables.

    `config_paths` are kubeconfigs, absolute. Certificates and key are PEM texts. `has_exec`: the backend itself names a
    program that prints a token. Holds secrets: never logged.
    """

    config_paths: tuple[str, ...] = ()
    context: str = ""
    context_user: str = ""
    context_cluster: str = ""
    in_cluster: bool = False
    host: str = ""
    username: str = ""
    password: str = ""
    token: str = ""
    client_certificate: str = ""
    client_key: str = ""
    ca_certificate: str = ""
    insecure: bool = False
    proxy_url: str = ""
    has_exec: bool = False

    def __repr__(self) -> str:
        return f"KubernetesAccess(config_paths={self.config_paths!r}, context={self.context!r}, …)"

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.password, self.token, self.client_key, *([self.proxy_url] if "@" in self.proxy_url else [])]

    def bare(self) -> KubernetesAccess:
        """Return the access as it may stand in a file."""
        proxy_url = "" if "@" in self.proxy_url else self.proxy_url
        return msgspec.structs.replace(self, password="", token="", client_key="", proxy_url=proxy_url)


class KubernetesSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True, tag="kubernetes"):
    """
    A Lease. `labels` are those that it gets where we are the first to lock it.

    `is_scratch`: it is only for trying, and is deleted where Terraform's own would stay, free. `goes_with_workspace`:
    Terraform deletes the workspace under our lock, and the Lease at the end of that.
    """

    backend: ClassVar[str] = "kubernetes"

    namespace: str
    name: str
    labels: dict[str, str] = {}
    is_scratch: bool = False
    goes_with_workspace: bool = False
    kubernetes: KubernetesAccess

    def __repr__(self) -> str:
        return f"KubernetesSpec(namespace={self.namespace!r}, name={self.name!r}, …)"

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.kubernetes.store import KubernetesStore

        return KubernetesStore(self)

    def secrets(self) -> list[str]:
        return self.kubernetes.secrets()

    def bare(self) -> KubernetesSpec:
        return msgspec.structs.replace(self, kubernetes=self.kubernetes.bare())

    def of_deleted(self) -> KubernetesSpec:
        return msgspec.structs.replace(self, goes_with_workspace=True)

    def scratch(self) -> KubernetesSpec:
        # Without Terraform's labels: it is none of its locks.
        return msgspec.structs.replace(self, name=self.name + probe_suffix(), labels={}, is_scratch=True)


class KubernetesState(StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="kubernetes"):
    """A state in a Secret, or in several. Copies are Secrets beside it, which Terraform does not take for states."""

    namespace: str
    name: str
    kubernetes: KubernetesAccess

    @property
    def place(self) -> str:
        return f"Secret {self.namespace}/{self.name}"

    def __repr__(self) -> str:
        return f"KubernetesState(namespace={self.namespace!r}, name={self.name!r}, …)"

    def read(self, max_bytes: int) -> bytes | None:
        from tfguard.backends.kubernetes.state import read_state

        return read_state(self, max_bytes)

    def keep_copy(self, path: str, lock_id: str) -> str:
        from tfguard.backends.kubernetes.state import keep_copy

        return keep_copy(self, path, lock_id)

    def find_copies(self) -> list[str]:
        from tfguard.backends.kubernetes.state import find_copies

        return find_copies(self)

    def has_copy(self, place: str) -> bool:
        return place in self.find_copies()

    def server_date(self) -> datetime | None:
        from tfguard.backends.kubernetes.client import Client

        with closing(Client(self.kubernetes, self.namespace)) as client:
            client.read("secrets", self.name)
            return client.date


class SecretProbe(Probe, frozen=True, kw_only=True, omit_defaults=True, tag="kubernetes"):
    """
    How to ask whether a workspace has its state, the default one as well.

    Where it has none, Terraform writes an empty one under a lock of its own that ignores `-lock=false` and would
    collide with ours, so it has to be there first.
    """

    state: KubernetesState

    def exists(self) -> bool:
        from tfguard.backends.kubernetes.client import Client

        with closing(Client(self.state.kubernetes, self.state.namespace)) as client:
            return client.read("secrets", self.state.name) is not None
