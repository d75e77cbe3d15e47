"""Where a lock and its state lie in Google Cloud Storage, and as whom they are reached: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from tfguard.backends.spec import Probe, SharingSpec, StateSpec
from tfguard.lock.names import COPY_MARK, beside_lock, probe_suffix
from tfguard.lock.store import Store
from tfguard.wire import pack

if TYPE_CHECKING:
    from datetime import datetime

    from tfguard.backends import spec
    from tfguard.backends.gcs.credentials import Credentials


class GcsAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach Google for this backend. Holds secrets: never logged.

    `credentials` is a file's path, or a key's JSON itself; without it and a token, they are where Google's own
    programs keep them. `endpoint` ends in `/storage/v1/`; empty: Google's own.
    """

    access_token: str = ""
    credentials: str = ""
    impersonate: str = ""
    delegates: tuple[str, ...] = ()
    endpoint: str = ""

    def __repr__(self) -> str:
        return "GcsAccess(…)"

    def key(self, environ: Mapping[str, str]) -> str:
        """Return what decides which credentials are found: this, and what Google's own variables say."""
        names = ("GOOGLE", "GCE_", "GCLOUD", "CLOUDSDK", "HOME")
        variables = sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(names))
        return "\n".join((pack(self).decode(), *variables))

    def resolve(self) -> Credentials:
        """Return credentials that stores of this access may share; the first that needs them resolves them."""
        from tfguard.backends.gcs.credentials import Credentials

        return Credentials(self)

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [self.access_token, self.credentials if "{" in self.credentials else ""]

    def bare(self) -> GcsAccess:
        """Return the access as it may stand in a file."""
        return msgspec.structs.replace(
            self,
            access_token="",
            credentials="" if "{" in self.credentials else self.credentials,
            endpoint="" if "@" in self.endpoint else self.endpoint,
        )


class GcsObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object in a bucket: a lock, or a state."""

    bucket: str
    key: str
    gcs: GcsAccess

    @property
    def place(self) -> str:
        """Where the object is, for people."""
        return f"gs://{self.bucket}/{self.key}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bucket={self.bucket!r}, key={self.key!r}, …)"


class GcsSpec(GcsObject, SharingSpec, frozen=True, kw_only=True, omit_defaults=True, tag="gcs"):
    """
    A `.tflock` object. `key` is the lock object's own name, suffix included.

    `is_guard`: it is no lock of Terraform's, which would know it by its generation.
    """

    backend: ClassVar[str] = "gcs"
    is_guard: bool = False

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.gcs.store import GcsStore

        return GcsStore(self, cast("Credentials | None", credentials))

    @property
    def access(self) -> GcsAccess:
        return self.gcs

    def bare(self) -> GcsSpec:
        return msgspec.structs.replace(self, gcs=self.gcs.bare())

    def as_guard(self) -> GcsSpec:
        return msgspec.structs.replace(self, is_guard=True)

    def copies(self) -> GcsState:
        return GcsState(bucket=self.bucket, key=beside_lock(self.key, ""), gcs=self.gcs)

    def scratch(self) -> GcsSpec:
        return msgspec.structs.replace(self, key=beside_lock(self.key, probe_suffix()))


class GcsState(GcsObject, StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="gcs"):
    """A state's own object. Copies stand beside it, encrypted as it is: by the customer's key, or one of Google's."""

    encryption_key: str = ""
    kms_key: str = ""

    def secrets(self) -> list[str]:
        return [self.encryption_key]

    def read(self, max_bytes: int) -> bytes | None:
        from tfguard.backends.gcs.state import read_state

        return read_state(self, max_bytes)

    def keep_copy(self, path: str, lock_id: str) -> str:
        from tfguard.backends.gcs.state import keep_copy

        return keep_copy(self, path, lock_id)

    def find_copies(self) -> list[str]:
        from tfguard.backends.gcs.client import client_of

        with closing(client_of(self)) as client:
            return [f"gs://{self.bucket}/{key}" for key in client.names(self.key + COPY_MARK)]

    def has_copy(self, place: str) -> bool:
        from tfguard.backends.gcs.client import client_of

        prefix = f"gs://{self.bucket}/"
        with closing(client_of(self)) as client:
            return not place.startswith(prefix) or client.about(place.removeprefix(prefix)) is not None

    def server_date(self) -> datetime | None:
        from tfguard.backends.gcs.client import client_of

        with closing(client_of(self)) as client:
            client.about(self.key)
            return client.date


class StateProbe(Probe, frozen=True, kw_only=True, omit_defaults=True, tag="gcs"):
    """
    How to ask whether a workspace has its state, the default one as well.

    Where it has none, Terraform writes an empty one under a lock of its own that ignores `-lock=false` and would
    collide with ours, so it has to be there first.
    """

    state: GcsState

    def exists(self) -> bool:
        from tfguard.backends.gcs.client import client_of

        with closing(client_of(self.state)) as client:
            return client.about(self.state.key) is not None
