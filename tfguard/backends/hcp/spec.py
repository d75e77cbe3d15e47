"""
Where a workspace of HCP Terraform lies, and as whom it is reached: plain data that crosses the socket.

Its lock has no ID, and one text, the reason; ours has the lock's ID in it. Its lease lies in a guard of the same ID, in
a store of the user's.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from tfguard.backends import spec
from tfguard.backends.spec import LockSpec
from tfguard.lock.store import Store


class HcpAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A host, and the token that the configuration itself names. Holds a secret: never logged."""

    host: str
    token: str = ""

    def __repr__(self) -> str:
        return f"HcpAccess(host={self.host!r}, …)"


class HcpSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True, tag="hcp"):
    """The lock of a workspace, by its name at HCP Terraform."""

    backend: ClassVar[str] = "cloud"
    needs_guard: ClassVar[bool] = True

    organization: str
    workspace: str
    hcp: HcpAccess

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.hcp.store import HcpLockStore

        return HcpLockStore(self)

    def secrets(self) -> list[str]:
        return [self.hcp.token]

    def bare(self) -> HcpSpec:
        return msgspec.structs.replace(self, hcp=msgspec.structs.replace(self.hcp, token=""))
