"""
Where a state, its lock and the lock's guard lie on a server: plain data that crosses the socket.

The lock is Terraform's own, and has no room for a lease. So a guard lies beside it with the same lock ID: on GitLab in
a state of its own (`GitLabGuardSpec`), with any other server in a store of the user's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from tfguard.backends.http.addresses import shown, without_login
from tfguard.backends.spec import ChildSettings, LockSpec
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from tfguard.backends import spec


class HttpAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Who we are for the server, and how it is believed. The environment has been asked for all but secrets.

    The certificates and the key are texts, as Terraform has them. Holds secrets: never logged.
    """

    username: str = ""
    password: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    insecure: bool = False

    def __repr__(self) -> str:
        return "HttpAccess(…)"

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.password, self.key]

    def bare(self) -> HttpAccess:
        """Return the access as it may stand in a file."""
        return msgspec.structs.replace(self, password="", key="")


class _Reached(LockSpec, frozen=True, kw_only=True, omit_defaults=True):
    """What lies at an address, where the state itself is at `address`."""

    backend: ClassVar[str] = "http"

    address: str
    http: HttpAccess = HttpAccess()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={shown(self.address)!r}, …)"

    def secrets(self) -> list[str]:
        return [*self.http.secrets(), urlsplit(self.address).password or ""]


class HttpSpec(_Reached, frozen=True, kw_only=True, omit_defaults=True, tag="http"):
    """
    Terraform's own lock on a server, taken at one address and let go at another.

    `is_gitlab`: the server looks at IDs, and tells no more of a holder than ID, user and time.
    """

    lock_address: str
    unlock_address: str
    lock_method: str = "LOCK"
    unlock_method: str = "UNLOCK"
    is_gitlab: bool = False

    needs_guard: ClassVar[bool] = True

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.http.store import HttpLockStore

        return HttpLockStore(self)

    def bare(self) -> HttpSpec:
        return msgspec.structs.replace(
            self,
            http=self.http.bare(),
            address=without_login(self.address),
            lock_address=without_login(self.lock_address),
            unlock_address=without_login(self.unlock_address),
        )

    def child_settings(self, lock_id: str) -> ChildSettings:
        parts = urlsplit(self.address)
        query = f"{parts.query}&ID={lock_id}" if parts.query else f"ID={lock_id}"
        return ChildSettings("address", urlunsplit(parts._replace(query=query)), "TF_HTTP_ADDRESS")


class GitLabGuardSpec(_Reached, frozen=True, kw_only=True, omit_defaults=True, tag="gitlab"):
    """The guard of a state's lock on GitLab: a state beside it, of which each version is the register's content."""

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.http.gitlab import GitLabGuardStore

        return GitLabGuardStore(self)

    def bare(self) -> GitLabGuardSpec:
        return msgspec.structs.replace(self, http=self.http.bare(), address=without_login(self.address))
