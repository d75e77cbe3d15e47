"""
Where a state, its lock and the lock's guard lie on a server: plain data that crosses the socket.

The lock is Terraform's own, and has no room for a lease. So a guard lies beside it with the same lock ID: on GitLab in
a state of its own (`GitLabGuardSpec`), with any other server in a store of the user's.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from tfguard.backends.http.addresses import COPY, shown, without_login
from tfguard.backends.spec import ChildSettings, LockSpec, StateSpec
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from tfguard.backends import spec


_MAX_ADDRESS = 2000


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

    def copies(self) -> GitLabCopies:
        return GitLabCopies(address=self.address, http=self.http)

    def bare(self) -> GitLabGuardSpec:
        return msgspec.structs.replace(self, http=self.http.bare(), address=without_login(self.address))


class GitLabCopies(StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="gitlab"):
    """
    Copies of a state on GitLab: states beside it, which whoever may read it can read, and nobody else.

    To `find_copies` needs what a list of states needs: an access token (see `listing`).
    """

    address: str
    http: HttpAccess = HttpAccess()

    @property
    def place(self) -> str:
        return _whole(self.address)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self.place!r}, …)"

    def keep_copy(self, path: str, lock_id: str) -> str:
        from tfguard.backends.http.client import Client

        with open(path, "rb") as file:
            body = file.read()
        address = f"{self.address}{COPY}{lock_id}"
        with closing(Client(self.http)) as client:
            client.ask("POST", address, body, (200, 422))  # 422: it is there, and its answer was lost.
        return _whole(address)

    def find_copies(self) -> list[str]:
        from tfguard.backends.http.listing import states_beside

        base, _, name = self.address.rpartition("/")
        start = f"{unquote(name)}{COPY}"
        found = (each for each in states_beside(self.address, self.http) if each.startswith(start))
        return [_whole(f"{base}/{quote(each, safe='')}") for each in found]

    def has_copy(self, place: str) -> bool:
        from tfguard.backends.http.client import Client

        base, _, name = place.rpartition("/")
        own, _, _ = self.address.rpartition("/")
        if base != _whole(own):
            return True
        with closing(Client(self.http)) as client:
            return client.ask("GET", f"{own}/{name}", b"", (200, 204, 404)).status == 200


def _whole(address: str) -> str:
    """Return an address for people as `shown` does, but all of it: a command is made of it."""
    return shown(address, at_most=_MAX_ADDRESS)
