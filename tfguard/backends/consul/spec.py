"""Where a lock and its state lie in Consul, and how that is reached: plain data that crosses the socket."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tfguard.backends.spec import ChildSettings, LockSpec, StateSpec
from tfguard.lock.names import probe_suffix
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from datetime import datetime

    from tfguard.backends import spec


class ConsulAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach Consul for this backend. The environment has been asked for all but secrets.

    `address` is `host:port`. Holds secrets: never logged.
    """

    address: str
    scheme: str = "http"
    datacenter: str = ""
    namespace: str = ""
    token: str = ""
    token_file: str = ""
    http_auth: str = ""
    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    insecure: bool = False

    def __repr__(self) -> str:
        return f"ConsulAccess(address={self.address!r}, …)"

    @property
    def url(self) -> str:
        """The server's address as a URL, without a slash at its end."""
        return f"{self.scheme}://{self.address}"

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.token, self.http_auth, self.http_auth.partition(":")[2]]

    def bare(self) -> ConsulAccess:
        """Return the access as it may stand in a file."""
        return msgspec.structs.replace(self, token="", http_auth="")


class ConsulSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True, tag="consul"):
    """
    A lock in Consul. `path` is the key of the state; the lock's keys lie below it.

    `child_always_locks`: every Terraform takes this lock, whatever its command and also with `-lock=false`, unless its
    backend says `lock = false`. So it is in all workspaces but the default one.
    """

    backend: ClassVar[str] = "consul"

    path: str
    consul: ConsulAccess
    child_always_locks: bool = False

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.consul.store import ConsulStore

        return ConsulStore(self)

    def secrets(self) -> list[str]:
        return self.consul.secrets()

    def bare(self) -> ConsulSpec:
        return msgspec.structs.replace(self, consul=self.consul.bare())

    def child_settings(self, lock_id: str) -> ChildSettings | None:
        return ChildSettings("lock", False, is_for_plans=True) if self.child_always_locks else None

    def scratch(self) -> ConsulSpec:
        return msgspec.structs.replace(self, path=f"{self.path}/{probe_suffix()}")


class ConsulState(StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="consul"):
    """A state in Consul. Copies are keys below it, which whoever may write the state may write too."""

    path: str
    consul: ConsulAccess

    @property
    def place(self) -> str:
        return f"Consul key {self.path}"

    def read(self, max_bytes: int) -> bytes | None:
        from tfguard.backends.consul.state import read_state

        return read_state(self, max_bytes)

    def keep_copy(self, path: str, lock_id: str) -> str:
        from tfguard.backends.consul.state import keep_copy

        return keep_copy(self, path, lock_id)

    def find_copies(self) -> list[str]:
        from tfguard.backends.consul.state import find_copies

        return find_copies(self)

    def has_copy(self, place: str) -> bool:
        return place in self.find_copies()

    def server_date(self) -> datetime | None:
        from tfguard.backends.consul.client import Client

        with closing(Client(self.consul)) as client:
            client.read(self.path)
            return client.date
