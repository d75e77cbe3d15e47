"""
Our record as a blob: the LockInfo, our lease within it, and an ETag by which every write is conditional.

Beside it the line, and Terraform's own lock: the state blob's lease, whose ID is the lock's, and its metadata, which
say whose it is. The lease's ID has to come with every write of the state, so the child takes it by itself.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.azurerm.client import About, Client, client_of
from tfguard.backends.azurerm.names import GUARD_SUFFIX, QUEUE_SUFFIX
from tfguard.errors import ActionDenied, Conflict, TfguardError
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import BaseStore, Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.azurerm.credentials import Credentials
    from tfguard.backends.azurerm.spec import AzureSpec

#: Terraform's name for its LockInfo among a state blob's metadata, in lower case: compared so, and signed so.
INFO = "terraformlockid"
#: The ID of a lock that does not say whose it is.
_NOBODY = "?"
#: What is left of a record by who may not delete it: it is none.
_RELEASED = b'{"tfguard":"released"}'
_ABSENT = {"If-None-Match": "*"}
#: No blob has this ETag.
_NEVER = '"0x1"'


class AzureStore(BaseStore):
    """A record's blob in a container. A record's `version` is its ETag."""

    has_leases = True

    def __init__(self, spec: AzureSpec, access: Credentials | None = None) -> None:
        self._spec = spec
        self.client = client_of(spec, access)

    @property
    def place(self) -> str:
        return self._spec.place

    @property
    def date(self) -> datetime | None:
        return self.client.date

    def credentials_expire_at(self) -> datetime | None:
        return self.client.credentials_expire_at()

    def close(self) -> None:
        self.client.close()

    def inner(self) -> StateLease:
        """Return Terraform's own lock on the state that is guarded."""
        return StateLease(self.client, self._spec.state_key)

    def read(self) -> LockRecord | None:
        found = self.client.read(self._spec.key, 2 * lockinfo.MAX_BYTES)
        if found is None or found[1] == _RELEASED:
            return None
        etag, body = found
        text, ours = lockinfo.taken_apart(body.decode("utf-8", "replace"))
        return LockRecord(text=text, info=lockinfo.decode(text), lease=_decoded(ours), version=etag)

    def create(self, record: LockRecord) -> LockRecord:
        try:
            return self._write(record, _ABSENT)
        except Conflict:
            found = self.client.read(self._spec.key, len(_RELEASED) + 1)
            if found is None or found[1] != _RELEASED:
                raise
            return self._write(record, {"If-Match": found[0]})

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        return self._write(record, {"If-Match": _version(seen.version)})

    def delete(self, seen: LockRecord) -> None:
        version = _version(seen.version)
        try:
            self.client.delete(self._spec.key, version)
        except ActionDenied:  # A shared access signature may well allow to write and not to delete.
            self.client.write(self._spec.key, _RELEASED, {"If-Match": version})

    def read_queue(self) -> QueueRecord | None:
        found = self.client.read(self._queue_key, queue_record.MAX_STORED_BYTES)
        return None if found is None else queue_record.decode_record(found[1], found[0])

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        condition = _ABSENT if seen is None else {"If-Match": _version(seen.version)}
        etag = self.client.write(self._queue_key, queue_record.encode_record(record), condition)
        return msgspec.structs.replace(record, version=etag)

    def attempts(self) -> dict[str, Callable[[], object]]:
        """Give, for each thing that the lock needs, a request that changes nothing: its condition never holds."""
        return self._attempts(self._spec.key)

    def deletion_attempt(self) -> dict[str, Callable[[], object]]:
        """The same for what it can do without."""
        return {"deleting": lambda: self.client.delete(self._spec.key, _NEVER)}

    def queue_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for the queue record."""
        return self._attempts(self._queue_key)

    def _attempts(self, key: str) -> dict[str, Callable[[], object]]:
        return {
            "reading": lambda: self.client.about(key),
            "writing": lambda: self.client.write(key, b"{}", {"If-Match": _NEVER}),
        }

    @property
    def _queue_key(self) -> str:
        return self._spec.key.removesuffix(GUARD_SUFFIX) + QUEUE_SUFFIX

    def _write(self, record: LockRecord, condition: dict[str, str]) -> LockRecord:
        body = lockinfo.extended(record.text, publish(record.lease)) if record.lease else record.text.encode()
        return msgspec.structs.replace(record, version=self.client.write(self._spec.key, body, condition))


class StateLease:
    """Terraform's own lock on a state's blob: the `InnerLock`."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key

    def read(self) -> LockInfo | None:
        about = self._client.about(self._key)
        return holder_of(about.metadata.get(INFO, "")) if about is not None and about.is_leased else None

    def has_state(self) -> bool:
        about = self._client.about(self._key)
        return about is not None and not about.is_empty

    def take(self, info: LockInfo) -> None:
        try:
            self._client.acquire(self._key, info.id)
        except Conflict:
            if self._client.about(self._key) is not None:
                raise
            self._client.write(self._key, b"", _ABSENT)  # As Terraform does where there is no state yet.
            self._client.acquire(self._key, info.id)
        about = self._client.about(self._key)
        encoded = base64.b64encode(info.encode().encode()).decode()
        try:
            self._client.annotate(self._key, {**_others(about), INFO: encoded}, {"x-ms-lease-id": info.id})
        except TfguardError:
            self._client.free(self._key, info.id)  # A lease that says nothing lets no plain Terraform wait.
            raise

    def free(self, lock_id: str) -> None:
        if lock_id == _NOBODY:
            self._break()
        elif _is_guid(lock_id):
            # The lease first: without what it says, nobody could free it any more. What it said is no lock by itself.
            self._client.free(self._key, lock_id)
        else:
            raise Conflict("that is no ID of a lease")
        with contextlib.suppress(Conflict, TfguardError):
            about = self._client.about(self._key)
            if about is not None and not about.is_leased and INFO in about.metadata:
                self._client.annotate(self._key, _others(about), {"If-Match": about.etag})

    def _break(self) -> None:
        """End a lease that does not say whose it is, as long as it does not: by an ID nobody could."""
        about = self._client.about(self._key)
        if about is None or not about.is_leased or holder_of(about.metadata.get(INFO, "")).id != _NOBODY:
            raise Conflict("it is free, or somebody's who says so")
        self._client.break_lease(self._key, about.etag)


def holder_of(encoded: str) -> LockInfo:
    """Read who has the lock out of a state blob's metadata."""
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = ""
    return lockinfo.decode(text) or LockInfo(id=_NOBODY, who="somebody who does not say who it is")


def _others(about: About | None) -> dict[str, str]:
    """The metadata that are not Terraform's lock: they are anybody's, and stay as they are."""
    return {name: value for name, value in about.metadata.items() if name != INFO} if about else {}


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _version(etag: str) -> str:
    """A record that was never stored cannot be the one that is."""
    if not etag:
        raise Conflict("the record has no ETag")
    return etag


def _decoded(text: str) -> Lease | None:
    try:
        return parse(text, Lease) if text else None
    except msgspec.DecodeError:
        return None
