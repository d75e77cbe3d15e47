"""What is locked: a state, the places that hold its lock, and the backend that a plan or a directory names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Union

import msgspec

from tfguard.backends.aws.spec import DynamoDBSpec, S3Spec, S3State, WorkspaceProbe
from tfguard.backends.azurerm.spec import AzureSpec, AzureState
from tfguard.backends.consul.spec import ConsulSpec, ConsulState
from tfguard.backends.gcs.spec import GcsSpec, GcsState, StateProbe
from tfguard.backends.hcp.spec import HcpSpec
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.keyring import Keyring
from tfguard.backends.kubernetes.spec import KubernetesSpec, KubernetesState, SecretProbe
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.pg.spec import PgProbe, PgSpec
from tfguard.backends.spec import StateSpec
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.store import Store

# Every kind of place that there is, a row each: the union is what crosses the socket, so it has to name them.
StoreSpec = Union[
    DynamoDBSpec,
    S3Spec,
    LocalSpec,
    ConsulSpec,
    GcsSpec,
    HttpSpec,
    GitLabGuardSpec,
    HcpSpec,
    AzureSpec,
    KubernetesSpec,
    PgSpec,
]
#: Where a state may lie that is not the lock's own file.
StatePlace = Union[S3State, ConsulState, GcsState, AzureState, KubernetesState]
#: How to ask for a workspace that Terraform would create under a lock of its own.
AnyProbe = Union[WorkspaceProbe, StateProbe, SecretProbe, PgProbe]


@dataclass(frozen=True)
class PlannedBackend:
    """The backend a plan was made with, and the workspace selected then. `config` may hold secrets."""

    type: str
    config: Mapping[str, Any] = field(repr=False)
    workspace: str


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One lock to take: its `label` for people, its `path` (LockInfo.Path), the stores that hold it together.

    With two stores (`.tflock`, then DynamoDB; a guard, then what it guards) both are taken, in that order, with the
    same lock ID. `state` is where the state itself lies, where that is not the lock's own file. `probe` is set where
    Terraform might create the workspace under a lock of its own.
    """

    label: str
    path: str
    backend: str
    workspace: str
    stores: tuple[StoreSpec, ...]
    probe: AnyProbe | None = None
    state: StatePlace | None = None

    @property
    def is_local(self) -> bool:
        """Whether the kernel alone holds the lock, and ends it together with its holder."""
        return all(spec.is_kernel_lock for spec in self.stores)

    @property
    def child_locks(self) -> bool:
        """Whether Terraform takes its own lock by itself, with ours beside it."""
        return self.backend == "named" or any(spec.child_locks for spec in self.stores)

    @property
    def ends_with_process(self) -> bool:
        """Whether Terraform's lock ends with the last process that carries it, so that nobody can leave it taken."""
        return any(spec.has_descriptor for spec in self.stores)

    @property
    def state_place(self) -> StateSpec | None:
        """Where the state lies, None for a lock under a name of the user's own that is no state's."""
        return self.state or next(filter(None, (spec.own_state() for spec in self.stores)), None)

    @property
    def copies_place(self) -> StateSpec | None:
        """Where copies of the state are kept that could not be saved: beside it, or else beside the lock's guard."""
        if self.state_place is not None:
            return self.state_place
        is_guarded = any(spec.needs_guard for spec in self.stores)
        return next(filter(None, (spec.copies() for spec in self.stores)), None) if is_guarded else None

    def deadlines(self, lease_seconds: float) -> Deadlines | None:
        """Return the deadlines of such a lease on this lock, None where the kernel ends it: there are no leases."""
        if self.is_local:
            return None
        return Deadlines.of(lease_seconds, beats_are_objects=any(spec.beats_are_objects for spec in self.stores))

    def secrets(self) -> list[str]:
        """Return what the backend's own configuration holds that must never be printed."""
        places = [*self.stores, *([self.state] if self.state else [])]
        return [secret for place in places for secret in place.secrets() if secret]

    def open(self, keyring: Keyring | None = None) -> list[Store]:
        """
        Open every store, or none. `keyring` gives credentials that several locks share.

        Raises: StoreDenied, StoreMisconfigured, as the specs do.
        """
        stores: list[Store] = []
        with ExitStack() as stack:
            for spec in self.stores:
                stores.append(spec.open(keyring.credentials(spec) if keyring else None))
                stack.callback(stores[-1].close)
            stack.pop_all()
        return stores


class Unlockable(msgspec.Struct, frozen=True):
    """
    There is no lock here that tfguard could hold. Terraform may run untouched, unless `needs_lock`.

    `reason` is for people: what is so, and where there is something to do, that on further lines. `needs_lock`: there
    is a state to guard, and running without our lock would break the promise that the user relies on. `is_told`: who
    runs without it is told why.
    """

    reason: str
    needs_lock: bool = False
    is_told: bool = False


def without_secrets(target: Target) -> tuple[Target, bool]:
    """Return the target as it may stand in a file, and whether something had to be left out."""
    stores = tuple(spec.bare() for spec in target.stores)
    return msgspec.structs.replace(target, stores=stores, probe=None, state=None), stores != target.stores
