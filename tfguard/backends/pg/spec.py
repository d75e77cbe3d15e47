"""Where a lock lies in PostgreSQL, and how that is reached: plain data that crosses the socket."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tfguard.backends.spec import LockSpec, Probe
from tfguard.lock.names import probe_suffix
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from tfguard.backends import spec


class PgAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach the server: what lib/pq makes of `conn_str` and of the environment.

    `settings` are the session's, by their names. Holds secrets: never logged.
    """

    host: str
    port: str = "5432"
    user: str = ""
    password: str = ""
    database: str = ""
    sslmode: str = "require"
    sslcert: str = ""
    sslkey: str = ""
    sslrootcert: str = ""
    passfile: str = ""
    options: str = ""
    settings: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"PgAccess(host={self.host!r}, …)"

    @property
    def place(self) -> str:
        """The server and the database, for people."""
        return f"{self.host}:{self.port}/{self.database or self.user}"

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.password]

    def bare(self) -> PgAccess:
        """Return the access as it may stand in a file: a setting may be anything."""
        return msgspec.structs.replace(self, password="", options="", settings={})


class PgSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True, tag="pg"):
    """
    A lock in PostgreSQL: a row of the table `tfguard` in `schema`.

    `is_terraforms`: `name` is a workspace, and the lock is Terraform's too. Otherwise it is the row alone.
    """

    backend: ClassVar[str] = "pg"

    name: str
    schema: str
    pg: PgAccess
    is_terraforms: bool = True

    @property
    def has_descriptor(self) -> bool:
        return self.is_terraforms

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.pg.store import PgStore

        return PgStore(self)

    def adopt(self, descriptor: int) -> Store:
        from tfguard.backends.pg.store import PgStore

        return PgStore(self, descriptor)

    def secrets(self) -> list[str]:
        return self.pg.secrets()

    def bare(self) -> PgSpec:
        return msgspec.structs.replace(self, pg=self.pg.bare())

    def scratch(self) -> PgSpec:
        return msgspec.structs.replace(self, name=f"{self.name}/{probe_suffix()}", is_terraforms=False)


class PgProbe(Probe, frozen=True, kw_only=True, omit_defaults=True, tag="pg"):
    """
    How to ask whether a workspace has its row. Where it has none, Terraform makes one under a lock of its own that
    ignores `-lock=false` and would collide with ours. The default workspace needs none.
    """

    lock: PgSpec

    def exists(self) -> bool:
        from tfguard.backends.pg.store import PgStore

        with closing(PgStore(self.lock)) as store:
            return store.has_workspace()
