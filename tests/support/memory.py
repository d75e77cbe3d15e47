"""A store in memory, for tests and the simulation. It passes the same contract suite as the real ones."""

from __future__ import annotations

import threading

import msgspec

from tfguard.errors import Conflict
from tfguard.lock.store import BaseStore, LockRecord, QueueRecord


class MemoryTable:
    """What several MemoryStores share: the records of any number of locks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: dict[str, LockRecord] = {}
        self.queues: dict[str, QueueRecord] = {}


class MemoryStore(BaseStore):
    """One lock's register in a MemoryTable. `version` is empty."""

    has_leases = True

    def __init__(self, table: MemoryTable | None = None, lock_id: str = "lock") -> None:
        self.table = table or MemoryTable()
        self._lock_id = lock_id

    @property
    def place(self) -> str:
        return f"memory {self._lock_id}"

    def read(self) -> LockRecord | None:
        with self.table.lock:
            return self.table.records.get(self._lock_id)

    def create(self, record: LockRecord) -> LockRecord:
        with self.table.lock:
            if self._lock_id in self.table.records:
                raise Conflict(self.place)
            return self._keep(record)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        with self.table.lock:
            stored = self._still(seen)
            if stored.beat != seen.beat or (stored.lease is None) != (seen.lease is None):
                raise Conflict(self.place)
            return self._keep(record)

    def delete(self, seen: LockRecord) -> None:
        with self.table.lock:
            self._still(seen)
            del self.table.records[self._lock_id]

    def read_queue(self) -> QueueRecord | None:
        with self.table.lock:
            return self.table.queues.get(self._lock_id)

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        with self.table.lock:
            stored = self.table.queues.get(self._lock_id)
            if (stored and stored.revision) != (seen and seen.revision):
                raise Conflict(self.place)
            return self._keep_queue(record)

    def close(self) -> None:
        pass

    def _still(self, seen: LockRecord) -> LockRecord:
        stored = self.table.records.get(self._lock_id)
        if stored is None or stored.text != seen.text:
            raise Conflict(self.place)
        return stored

    def _keep(self, record: LockRecord) -> LockRecord:
        kept = msgspec.structs.replace(record, version="")
        self.table.records[self._lock_id] = kept
        return kept

    def _keep_queue(self, record: QueueRecord) -> QueueRecord:
        kept = msgspec.structs.replace(record, version="")
        self.table.queues[self._lock_id] = kept
        return kept
