"""
The guard of a lock on GitLab: a state beside the one that is locked, used as a register.

GitLab keeps a state's versions by their serials and takes no serial twice. So whoever writes the next serial has seen
the last one; everybody else is refused. Older versions are deleted as we go, by whoever wrote the one after, and a
serial that was deleted is free again, for a request that comes late. So what was written counts only if a look shows
that it is the newest, or that the newest follows from it: each version has a mark of its own, and those of the versions
before it that its writer has seen.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from tfguard.backends.http.addresses import GUARD, QUEUE, shown
from tfguard.backends.http.client import Client
from tfguard.errors import Conflict, StoreUnavailable, TfguardError
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.store import BaseStore, Lease, LockRecord, QueueRecord
from tfguard.wire import convert, parse, publish

if TYPE_CHECKING:
    from tfguard.backends.http.spec import GitLabGuardSpec

_ABSENT = (204, 404)
_TAKEN = 422
#: Characters of a mark, and how many marks a version remembers: so many others may come while one of us looks.
_MARK, _REMEMBERED = 12, 8


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    """
    A version as GitLab keeps it; it takes whatever has a serial. Nothing is there where `content` is None.

    `mark` tells it from another of the same serial; `past` are the marks of those that it follows, the last one first.
    """

    serial: int
    content: str | None
    lease: Any = None
    mark: str = ""
    past: tuple[str, ...] = ()
    version: int = 4
    lineage: str = "tfguard"


class _Register:
    """One state, each of whose versions replaces the one before."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address
        self._last = _Document(serial=0, content=None)

    def read(self) -> _Document:
        """Return the newest version; of one that is not ours, all of it is the content. Raises as a store does."""
        self._last = self._read()
        return self._last

    def _read(self) -> _Document:
        response = self._client.ask("GET", self._address, b"", (200, *_ABSENT))
        if response.status != 200:
            return _Document(serial=0, content=None)
        try:
            return parse(response.body, _Document)
        except msgspec.DecodeError:
            return _Document(serial=_serial(response.body), content=response.body.decode("utf-8", "replace"))

    def write(self, seen: int, content: str | None, lease: Lease | None = None) -> int:
        """Write what comes after the serial `seen`, and return its serial. Raises Conflict, and as a store does."""
        before = (self._last.mark, *self._last.past)[:_REMEMBERED] if self._last.serial == seen else ()
        document = _Document(serial=seen + 1, content=content, lease=lease, mark=uuid.uuid4().hex[:_MARK], past=before)
        response = self._client.ask("POST", self._address, publish(document), (200, _TAKEN))
        if response.status == _TAKEN:
            raise Conflict(f"{shown(self._address)}: serial {seen + 1} is taken")
        found = self.read()
        is_newest = found.mark == document.mark
        if not is_newest and document.mark not in found.past:
            self._delete(document.serial)  # It came late, into a place that had been cleared.
            raise Conflict(f"{shown(self._address)}: serial {found.serial} is newer")
        if seen and not self._delete(seen) and is_newest:
            # Somebody has deleted the state, and a lock with it: what we wrote must not bring it back.
            self._delete(document.serial)
            raise Conflict(f"{shown(self._address)}: serial {seen} is gone")
        return document.serial

    def _delete(self, serial: int) -> bool:
        """Delete a version; whether it was there, as far as can be told."""
        with suppress(TfguardError):
            return self._client.ask("DELETE", f"{self._address}/versions/{serial}", b"", (200, 204, 404)).status != 404
        return True


class GitLabGuardStore(BaseStore):
    """A guard on GitLab, and its queue. A record's `version` is its serial."""

    has_leases: ClassVar[bool] = True

    def __init__(self, spec: GitLabGuardSpec) -> None:
        self._client = Client(spec.http)
        self._address = spec.address + GUARD
        self._lock = _Register(self._client, self._address)
        self._queue = _Register(self._client, spec.address + QUEUE)
        self._free_at: int | None = None

    @property
    def place(self) -> str:
        return shown(self._address)

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def close(self) -> None:
        self._client.close()

    def read(self) -> LockRecord | None:
        found = self._lock.read()
        if found.content is None:
            self._free_at = found.serial
            return None
        self._free_at = None
        info = lockinfo.decode(found.content)
        lease = _lease(found.lease) if info is not None else None
        return LockRecord(text=found.content, info=info, lease=lease, version=str(found.serial))

    def create(self, record: LockRecord) -> LockRecord:
        if self._free_at is None and self.read() is not None:
            raise Conflict(f"{self.place}: held")
        seen, self._free_at = self._free_at or 0, None
        return self._write(seen, record)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        return self._write(_serial_of(seen.version), record)

    def delete(self, seen: LockRecord) -> None:
        self._lock.write(_serial_of(seen.version), None)

    def read_queue(self) -> QueueRecord | None:
        found = self._queue.read()
        if found.content is None:
            return None
        return queue_record.decode_record(found.content.encode(), str(found.serial))

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        serial = _serial_of(seen.version) if seen is not None else 0
        written = self._queue.write(serial, queue_record.encode_record(record).decode())
        return msgspec.structs.replace(record, version=str(written))

    def _write(self, seen: int, record: LockRecord) -> LockRecord:
        written = self._lock.write(seen, record.text, record.lease)
        return msgspec.structs.replace(record, version=str(written))


def _serial_of(version: str) -> int:
    """The serial of a record; one that was never stored cannot be the one that is."""
    if not version.isdecimal():
        raise Conflict("the record has no serial")
    return int(version)


def _serial(body: bytes) -> int:
    """The serial of a state that is none of ours, for it has one, or GitLab would not have taken it."""
    try:
        found = parse(body, dict[str, Any]).get("serial")
    except msgspec.DecodeError as error:
        raise StoreUnavailable("What answers is not GitLab: a state that is none.") from error
    if not isinstance(found, int):
        raise StoreUnavailable("What answers is not GitLab: a state without a serial.")
    return found


def _lease(value: Any) -> Lease | None:
    try:
        return convert(value, Lease) if value is not None else None
    except (msgspec.ValidationError, RecursionError):
        return None
