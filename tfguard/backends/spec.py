"""
What every place of a lock, or of a state, says of itself: plain data that crosses the socket to the keeper.

Nobody outside `backends` needs to know which kind of place a spec names: it opens its own store, names its own secrets,
and says what sets it apart. A new kind of place is a subclass in a folder of its own, and a row in `target`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from tfguard.errors import StoreMisconfigured
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self


class Credentials(Protocol):
    """What several stores may share that are reached the same way. Whoever resolved them closes them."""

    def close(self) -> None:
        """Stop keeping them fresh. Stores that are open keep what they have."""
        ...


class StoredDigest(msgspec.Struct, frozen=True, kw_only=True):
    """The MD5 of the state, as `item` in `table` has it."""

    table: str
    item: str
    md5: str


class ChildSettings(msgspec.Struct, frozen=True):
    """
    The attribute of its backend that a Terraform under a lock of ours has to be given, and the `value`.

    `variable` sets it where the configuration does not; without one the configuration always does. `is_for_plans`: a
    Terraform that only plans needs it as well, so a plan that it saves says it too, and is not to leave this run.
    """

    attribute: str
    value: str | bool
    variable: str = ""
    is_for_plans: bool = False

    def __repr__(self) -> str:
        return f"ChildSettings({self.attribute}, …)"


class LockSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one lock lives. The defaults are those of a store that is alone in the world and holds no secrets."""

    #: Terraform's word for the backend that the place belongs to.
    backend: ClassVar[str] = ""
    #: Whether each heartbeat writes an object anew, of which a bucket may keep every version: beats are rarer then.
    beats_are_objects: ClassVar[bool] = False
    #: Whether the kernel ends the lock together with its holder: then there are no leases, and no deadlines.
    is_kernel_lock: ClassVar[bool] = False
    #: Whether it has no room for a lease, as `Store.needs_guard` has it.
    needs_guard: ClassVar[bool] = False

    @property
    def child_locks(self) -> bool:
        """Whether Terraform's own lock has to be the child's: what we hold stands beside it (`lock.guarded`)."""
        return False

    @property
    def has_descriptor(self) -> bool:
        """Whether a descriptor carries the lock, which is held for as long as any process has it."""
        return self.is_kernel_lock

    def open(self, credentials: Credentials | None = None) -> Store:
        """
        Open the lock's store. Nothing is asked of it yet, but credentials are resolved.

        `credentials` come from a spec with the same `credentials_key`, and their owner closes them. Without them the
        store resolves its own, and closes them with itself.

        Raises:
            StoreDenied: No credentials.

            StoreMisconfigured: No region, no such profile, an impossible name.
        """
        raise NotImplementedError

    def adopt(self, descriptor: int) -> Store:
        """Open the store of a lock that another process took on `descriptor`, and own that. Only where there is one."""
        raise NotImplementedError

    def credentials_key(self, environ: Mapping[str, str]) -> str:
        """Return what decides which credentials are used: equal keys, equal credentials. Empty: it needs none."""
        return ""

    def credentials(self) -> Credentials:
        """Resolve credentials that stores may share, by the environment of this process. Only where there is a key."""
        raise NotImplementedError

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed. Some may be empty."""
        return []

    def bare(self) -> Self:
        """Return the spec as it may stand in a file: without what is, or might hold, a secret."""
        return self

    def scratch(self) -> Self | None:
        """Return a place beside this one where a record harms nobody, each time another; None where there is none."""
        return None

    def as_guard(self) -> Self:
        """Return the place as one of a guard: what `terraform force-unlock` takes is what it guards, never itself."""
        return self

    def of_deleted(self) -> Self:
        """Return the lock as it is under `workspace delete`, which may take it away with the workspace."""
        return self

    def own_state(self) -> StateSpec | None:
        """Return the state that the lock itself lies on, None where the two are apart."""
        return None

    def copies(self) -> StateSpec | None:
        """
        Return where a copy may be kept of a state that Terraform could not save, for a guard whose state has no such
        place itself; None where there is no room for one.
        """
        return self.own_state()

    def child_settings(self, lock_id: str) -> ChildSettings | None:
        """Return what else than its configuration says a Terraform under the lock of this ID needs; mostly nothing."""
        return None

    def makes_workspace(self) -> bool:
        """Whether taking the lock would bring a workspace into being that is not there."""
        return False

    # --- a digest of the state beside its lock ------------------------------------------------------------------

    #: Whether Terraform keeps the state's digest beside this lock.
    keeps_digest: ClassVar[bool] = False

    def read_digest(self) -> StoredDigest | None:
        """Return the state's digest that stands beside the lock, None where there is none. Raises as a store."""
        return None

    def replace_digest(self, seen: str, digest: str) -> None:
        """Write the state's digest if it is still `seen`. Raises Conflict, and as a store does."""
        raise StoreMisconfigured("There is no digest beside this lock.")


class Access(Protocol):
    """How a service is reached, and as whom, as a spec has it among its fields."""

    def key(self, environ: Mapping[str, str]) -> str:
        """As `LockSpec.credentials_key`."""
        ...

    def resolve(self) -> Credentials:
        """As `LockSpec.credentials`."""
        ...

    def secrets(self) -> list[str]:
        """As `LockSpec.secrets`."""
        ...


class SharingSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True):
    """A place that shares its credentials with all others of the same access."""

    @property
    def access(self) -> Access:
        """How it is reached."""
        raise NotImplementedError

    def credentials_key(self, environ: Mapping[str, str]) -> str:
        return self.access.key(environ)

    def credentials(self) -> Credentials:
        return self.access.resolve()

    def secrets(self) -> list[str]:
        return self.access.secrets()


class StateSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Where a state lies, for what its lock's holder has to do with it: read it, and keep copies beside it.

    Every method raises:
        StoreUnavailable, StoreDenied, StoreMisconfigured: As a store does.
    """

    @property
    def place(self) -> str:
        """Where the state is, for people."""
        raise NotImplementedError

    def read(self, max_bytes: int) -> bytes | None:
        """Return the first bytes of the state, None if there is none."""
        raise NotImplementedError

    def keep_copy(self, path: str, lock_id: str) -> str:
        """Copy the file at `path` beside the state, kept as secret as that, and return where. Raises OSError too."""
        raise NotImplementedError

    def find_copies(self) -> list[str]:
        """Return where the copies are that `keep_copy` has made, whatever the lock's ID was."""
        raise NotImplementedError

    def has_copy(self, place: str) -> bool:
        """Whether the copy at `place` is still there."""
        raise NotImplementedError

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed, and that the lock's own place does not hold."""
        return []

    def server_date(self) -> datetime | None:
        """Return what the server says that it is now, None where it tells no time."""
        return None


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How to ask whether a workspace exists that Terraform would create under a lock of its own, against ours.

    `workspace` is its name.
    """

    workspace: str

    def exists(self) -> bool:
        """
        Whether Terraform would find the workspace.

        Raises:
            StoreDenied: We may not ask. Terraform may not either, and then takes the workspace for missing.

            StoreUnavailable, StoreMisconfigured: As a store does.
        """
        raise NotImplementedError
