"""
Terraform's lock in Consul: the key `.lock` that a session holds, and `.lockinfo` beside it with LockInfo and our lease.

Terraform's session is its lock ID. Ours is another one for each acquisition, and the lock ID is our own: so the ID is
known before anything is written. The lease names its session. Consul frees the lock of a session that ends, and leaves
`.lockinfo` as it was: so that is believed only where it was written after the lock was taken, and a lease in it only
where its session is the one that holds the lock. Otherwise a plain Terraform that came after would look like a dead
tfguard.

A session ends by itself between one and two leases after it was renewed last. It is renewed *before* each heartbeat is
written, so it outlives the lease that is counted from that heartbeat.

    create    take `.lock` for a new session · write `.lockinfo`
    beat      renew the session; `.lock` is still its · replace `.lockinfo`, if it is as it was seen
    takeover  `.lock` is still the dead one's · `.lockinfo` is as it was seen · free and take `.lock` · write it
    release   `.lock` is still ours · delete `.lockinfo` · delete `.lock`; end the session

Each line is one transaction.
"""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.consul.client import Client, Entry
from tfguard.errors import Conflict, StoreDenied, StoreUnavailable, TfguardError
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.names import QUEUE_SUFFIX
from tfguard.lock.store import BaseStore, Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.consul.spec import ConsulSpec

LOCK, INFO = "/.lock", "/.lockinfo"
#: By this number Terraform knows its locks; a key with another is "not a lock".
_FLAGS = 3304740253564472344
#: Consul takes no shorter and no longer one, in seconds.
_TTL_SECONDS = (10, 86400)
#: A lock that is taken between two questions is looked at anew, this often.
_AGAIN = 3
#: No key has ever been changed at this index.
NEVER = 2**62


class _Ours(msgspec.Struct, frozen=True):
    """What we add to a LockInfo."""

    session: str
    lease: Lease


class ConsulStore(BaseStore):
    """A lock in Consul. A record's `version` is the session that holds the lock, and the index of `.lockinfo`."""

    has_leases = True

    def __init__(self, spec: ConsulSpec) -> None:
        self._spec = spec
        self._client = Client(spec.consul)
        self._lock, self._info = spec.path + LOCK, spec.path + INFO
        self._queue = f"{spec.path}/{QUEUE_SUFFIX}"
        self._seen_at = 0

    @property
    def place(self) -> str:
        return f"Consul key {self._lock}"

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def close(self) -> None:
        self._client.close()

    def read(self) -> LockRecord | None:
        found = self._read_both()
        lock = found.get(self._lock)
        self._seen_at = lock.modify_index if lock else 0
        return _record(lock, found.get(self._info)) if lock and lock.session else None

    def _read_both(self) -> dict[str, Entry]:
        """Read the lock and what stands beside it, both at one instant."""
        for _ in range(_AGAIN):
            found = {entry.key: entry for entry in self._client.read(self._lock, below=True)}
            # Of several keys Consul leaves out those that we may not read; only of one it says so.
            if self._lock in found or not self._client.read(self._lock):
                return found
        raise StoreUnavailable(f"{self.place} keeps changing while we look.")

    def create(self, record: LockRecord) -> LockRecord:
        return self._take(record, [])

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        session, index = _taken_apart(seen)
        if record.text != seen.text:
            return self._take(
                record,
                [
                    {"Verb": "check-session", "Key": self._lock, "Session": session},
                    {"Verb": "check-index", "Key": self._info, "Index": index},
                    {"Verb": "unlock", "Key": self._lock, "Session": session},
                ],
            )
        # First: the lease that is counted from this heartbeat must not outlive the session.
        self._client.renew_session(session)
        held = {"Verb": "check-session", "Key": self._lock, "Session": session}
        return self._write([held], {"Verb": "cas", "Index": index}, record, session)

    def delete(self, seen: LockRecord) -> None:
        session, _ = _taken_apart(seen)
        self._client.transact(
            [
                {"Verb": "check-session", "Key": self._lock, "Session": session},
                {"Verb": "delete", "Key": self._info},
                {"Verb": "delete", "Key": self._lock},
            ],
            f"key {self._lock}",
        )
        self._end(session)

    def read_queue(self) -> QueueRecord | None:
        found = self._client.read(self._queue)
        return queue_record.decode_record(found[0].content, str(found[0].modify_index)) if found else None

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        content = queue_record.encode_record(record)
        last = {"Verb": "cas", "Key": self._queue, "Index": _index(seen), "Value": _base64(content)}
        return msgspec.structs.replace(record, version=str(self._client.write([last], f"key {self._queue}")))

    def await_change(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Rest so long, or until the lock is not as the last `read` found it, or `is_over`. Raises as a store does."""
        self._client.await_change(self._lock, self._seen_at, seconds, is_over)

    def attempts(self) -> dict[str, Callable[[], object]]:
        """Give, for each thing that a lock needs, requests that change nothing: what they ask for never holds."""
        return {
            "key:read": self.read,
            "key:write": lambda: self._write_never(self._lock, self._info),
            "session:write": lambda: self._end(self._client.create_session(_TTL_SECONDS[0])),
        }

    def queue_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for the queue record."""
        return {"key:read": self.read_queue, "key:write": lambda: self._write_never(self._queue)}

    def _write_never(self, *keys: str) -> None:
        for key in keys:
            with contextlib.suppress(Conflict):
                self._client.transact([{"Verb": "cas", "Key": key, "Index": NEVER, "Value": ""}], f"key {key}")

    def _take(self, record: LockRecord, before: list[Mapping[str, Any]]) -> LockRecord:
        """Take the lock for a new session, if the transaction gets through what stands `before`."""
        session = self._client.create_session(_ttl_seconds(record.lease))
        take = {"Verb": "lock", "Key": self._lock, "Session": session, "Flags": _FLAGS}
        try:
            return self._write([*before, take], {"Verb": "set"}, record, session)
        except (Conflict, StoreDenied):
            self._end(session)  # It holds nothing. Where we have no answer it may, and is left to its own end.
            raise

    def _write(
        self, before: list[Mapping[str, Any]], how: Mapping[str, Any], record: LockRecord, session: str
    ) -> LockRecord:
        """Write `.lockinfo` at the end of a transaction."""
        body = record.text.encode()
        if record.lease is not None:
            body = lockinfo.extended(record.text, publish(_Ours(session, record.lease)))
        last = {**how, "Key": self._info, "Value": _base64(body)}
        index = self._client.write([*before, last], f"key {self._lock}")
        return msgspec.structs.replace(record, version=f"{session} {index}")

    def _end(self, session: str) -> None:
        """End a session that holds nothing; it would end by itself."""
        with contextlib.suppress(TfguardError, Conflict):
            self._client.destroy_session(session)


def _record(lock: Entry, beside: Entry | None) -> LockRecord:
    """Believe what stands beside a lock if it was written under that lock, or names its session as Terraform's does."""
    version = f"{lock.session} {beside.modify_index if beside else 0}"
    content = beside.content[: lockinfo.MAX_BYTES + 1].decode("utf-8", "replace") if beside else ""
    text, lease = _split(content, lock.session)
    info = lockinfo.decode(text)
    is_its_own = beside is not None and beside.modify_index >= lock.modify_index
    if not is_its_own and (info is None or info.id != lock.session):
        return LockRecord(text="", info=None, version=version)  # The last holder's: this one has not written its own.
    return LockRecord(text=text, info=info, lease=lease, version=version)


def _split(body: str, session: str) -> tuple[str, Lease | None]:
    """Return LockInfo and lease. Where ours is not within, that is the whole body; another session's lease is none."""
    text, ours = lockinfo.taken_apart(body)
    try:
        found = parse(ours, _Ours)
    except msgspec.DecodeError:
        return body, None
    return text, found.lease if found.session == session else None


def _taken_apart(seen: LockRecord) -> tuple[str, int]:
    session, _, index = seen.version.partition(" ")
    if not session or not index.isdecimal():
        raise Conflict("the record was never stored")
    return session, int(index)


def _index(seen: QueueRecord | None) -> int:
    """What a condition names: 0 is a key that is not there."""
    if seen is None:
        return 0
    if not seen.version.isdecimal() or seen.version == "0":
        raise Conflict("the record was never stored")
    return int(seen.version)


def _ttl_seconds(lease: Lease | None) -> int:
    """A session lives as long as the lease. A hold is not renewed, so its session does not end."""
    if lease is None or lease.hold_until:
        return 0
    shortest, longest = _TTL_SECONDS
    return min(longest, max(shortest, math.ceil(lease.seconds)))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
