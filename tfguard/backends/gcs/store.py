"""
Terraform's `.tflock` object in Google Cloud Storage, with our lease in what is said of the object (its metadata).

An object's *generation* is another each time it is written; its *metageneration* counts changes of its metadata. To a
person who is to unlock, Terraform shows the generation, and takes nothing else.

    create    write the object, lease and all, if there is none
    beat      change the metadata, if generation and metageneration are as they were seen: the generation stays
    takeover  write the object, if both are as they were seen
    release   delete this generation

Each line is one request. Where we may not change metadata (`storage.objects.update`, which Terraform does not need), a
beat writes the object anew: then the generation that somebody was shown is soon an old one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.gcs.client import About, client_of
from tfguard.errors import ActionDenied, Conflict, StoreUnavailable
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.names import QUEUE_SUFFIX, beside_lock
from tfguard.lock.store import BaseStore, Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.gcs.credentials import Credentials
    from tfguard.backends.gcs.spec import GcsSpec

_LEASE_KEY = "tfguard"
#: The most that a value of metadata may be.
_MAX_VALUE_BYTES = 4096
#: So much of a holder's texts is left where all of them are too long together, each in characters.
_MAX_TEXT = 200
#: A lock that is another one each time we look is looked at so often.
_LOOKS = 3
#: No object has this generation.
_NEVER = {"ifGenerationMatch": "1"}


class GcsStore(BaseStore):
    """A lock object in a bucket. A record's `version` is its generation and its metageneration."""

    has_leases = True

    def __init__(self, spec: GcsSpec, access: Credentials | None = None) -> None:
        self._spec = spec
        self._client = client_of(spec, access)
        self._may_annotate = True
        self._known = ("", "")

    @property
    def place(self) -> str:
        return self._spec.place

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def credentials_expire_at(self) -> datetime | None:
        return self._client.credentials_expire_at()

    def close(self) -> None:
        self._client.close()

    def read(self) -> LockRecord | None:
        for _ in range(_LOOKS):
            about = self._client.about(self._spec.key)
            if about is None:
                return None
            try:
                return self._record(about, self._text(about))
            except Conflict:
                continue  # It has been written anew in between.
        raise StoreUnavailable(f"{self.place} keeps changing while we read it.")

    def create(self, record: LockRecord) -> LockRecord:
        return self._write(record, {"ifGenerationMatch": "0"})

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        generation, metageneration = _taken_apart(seen)
        conditions = {"ifGenerationMatch": generation, "ifMetagenerationMatch": metageneration}
        if record.text == seen.text and self._may_annotate:
            lease = _encoded(record.lease)
            try:
                about = self._client.annotate(self._spec.key, {_LEASE_KEY: lease or None}, conditions)
                return self._record(about, record.text)
            except ActionDenied:
                self._may_annotate = False
        return self._write(record, conditions)

    def delete(self, seen: LockRecord) -> None:
        self._client.delete(self._spec.key, _taken_apart(seen)[0])

    def read_queue(self) -> QueueRecord | None:
        for _ in range(_LOOKS):
            about = self._client.about(self._queue_key)
            if about is None:
                return None
            try:
                content = self._client.body(about, queue_record.MAX_STORED_BYTES)
                return queue_record.decode_record(content, about.generation)
            except Conflict:
                continue
        raise StoreUnavailable(f"{self.place}: its queue record keeps changing while we read it.")

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        if seen is not None and not seen.version.isdecimal():
            raise Conflict("the queue record has no generation")
        condition = seen.version if seen is not None else "0"
        about = self._client.write(
            self._queue_key, queue_record.encode_record(record), {"ifGenerationMatch": condition}
        )
        return msgspec.structs.replace(record, version=about.generation)

    def attempts(self) -> dict[str, Callable[[], object]]:
        """Give, for each permission that the lock needs, a request that changes nothing: it asks for what never is."""
        key = self._spec.key
        return {
            "storage.objects.get": lambda: self._client.about(key),
            "storage.objects.create": lambda: self._client.write(key, b"{}", _NEVER),
            "storage.objects.delete": lambda: self._client.delete(key, _NEVER["ifGenerationMatch"]),
        }

    def beat_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for what a heartbeat needs, if a person's force-unlock is to know the lock by its number."""
        key = self._spec.key
        return {"storage.objects.update": lambda: self._client.annotate(key, {}, _NEVER)}

    def queue_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for the queue record."""
        key = self._queue_key
        return {
            "storage.objects.get": lambda: self._client.about(key),
            "storage.objects.create": lambda: self._client.write(key, b"{}", _NEVER),
        }

    @property
    def _queue_key(self) -> str:
        return beside_lock(self._spec.key, QUEUE_SUFFIX)

    def _text(self, about: About) -> str:
        """The object's text, which is the same as long as its generation is."""
        if self._known[0] != about.generation:
            content = self._client.body(about, lockinfo.MAX_BYTES + 1)
            self._known = about.generation, content.decode("utf-8", "replace")
        return self._known[1]

    def _write(self, record: LockRecord, conditions: dict[str, str]) -> LockRecord:
        lease = _encoded(record.lease)
        metadata = {_LEASE_KEY: lease} if lease else {}
        body = record.text.encode()
        return self._record(self._client.write(self._spec.key, body, conditions, metadata=metadata), record.text)

    def _record(self, about: About, text: str) -> LockRecord:
        return LockRecord(
            text=text,
            info=lockinfo.decode(text),
            lease=_decoded(about.metadata.get(_LEASE_KEY, "")),
            version=f"{about.generation}/{about.metageneration}",
            force_unlock_id="" if self._spec.is_guard else about.generation,
        )


def _taken_apart(seen: LockRecord) -> tuple[str, str]:
    """Generation and metageneration; a record that was never stored cannot be the one that is."""
    generation, slash, metageneration = seen.version.partition("/")
    if not slash:
        raise Conflict("the record has no generation")
    return generation, metageneration


def _decoded(text: str) -> Lease | None:
    try:
        return parse(text, Lease) if text else None
    except msgspec.DecodeError:
        return None


def _encoded(lease: Lease | None) -> str:
    """The lease as a value of metadata, which has room for 4 KiB: who cannot be brief is cut short."""
    if lease is None:
        return ""
    encoded, limit = publish(lease), _MAX_TEXT
    while len(encoded) > _MAX_VALUE_BYTES and limit:
        encoded, limit = publish(_cut(lease, limit)), limit // 2
    return encoded.decode()


def _cut(lease: Lease, limit: int) -> Lease:
    holder = lease.holder
    shorter = msgspec.structs.replace(
        holder,
        who=holder.who[:limit],
        command=holder.command[:limit],
        run=holder.run[:limit],
        # Half a link leads nowhere.
        link=holder.link if len(holder.link) <= limit else "",
    )
    return msgspec.structs.replace(lease, holder=shorter, reason=lease.reason[:limit])
