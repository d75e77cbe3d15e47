"""
Terraform's lock in Kubernetes: a Lease whose holder is the lock ID, with LockInfo and our lease in its annotations.

The Lease stays when its lock is released, without a holder. Whoever changes it, Terraform included, reads it and
writes all of it anew under its version; so a write of somebody else's in between makes a release fail and leaves the
lock. Hence nobody but the holder writes a Lease that is held, and the line of those who wait is in a Lease of its own.

Our lease in the annotation outlives our lock where Terraform unlocks it by force and takes it itself, for it leaves
what is others'. So it begins with the lock ID, and is believed only where that is the holder. Otherwise a plain
Terraform would look like a dead tfguard.

    create           write the Lease with a holder, if it has none and is as it was seen; or make it
    beat, takeover   write it, if it is as it was seen
    release          write it without holder and annotations, if it is as it was seen

Each line is one request; where the Lease was not seen before, one more.

Where Terraform deletes the workspace, it deletes our Lease as its last step. Then a Lease that is gone is as we wrote
it last, until we release it: our deadline comes no later by that, and nobody is told of a loss. One that somebody has
made anew is his.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.kubernetes.client import Client, Object
from tfguard.errors import ActionDenied, Conflict
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.lockinfo import decode
from tfguard.lock.names import QUEUE_SUFFIX
from tfguard.lock.store import BaseStore, Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.kubernetes.spec import KubernetesSpec

#: Terraform's own annotation.
INFO = "app.terraform.io/lock-info"
#: Ours.
LEASE, QUEUE = "tfguard.io/lease", "tfguard.io/queue"


class KubernetesStore(BaseStore):
    """A Lease. A record's `version` is its uid and its resourceVersion."""

    has_leases = True

    def __init__(self, spec: KubernetesSpec) -> None:
        self._spec = spec
        self._client = Client(spec.kubernetes, spec.namespace)
        self._queue = spec.name + QUEUE_SUFFIX
        self._seen: Object | None = None
        #: What we hold, where Terraform may delete it.
        self._deletable: LockRecord | None = None

    @property
    def place(self) -> str:
        return f"Lease {self._spec.namespace}/{self._spec.name}"

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def credentials_expire_at(self) -> datetime | None:
        return self._client.credentials_expire_at()

    def close(self) -> None:
        self._client.close()

    def read(self) -> LockRecord | None:
        self._seen = self._client.read("leases", self._spec.name)
        return _record(self._seen) if self._seen else self._deletable

    def create(self, record: LockRecord) -> LockRecord:
        if self._seen is None:
            try:
                return self._made(record)
            except Conflict:
                self._seen = self._client.read("leases", self._spec.name)
        free = self._seen
        if free is None or free.spec.holder is not None:
            raise Conflict("it is held")
        self._seen = None  # Whatever comes of it, it is not as it was.
        return self._write(free, record)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        return self._write(self._as_seen(seen), record)

    def delete(self, seen: LockRecord) -> None:
        deletable, self._deletable = self._deletable, None
        try:
            self._free(self._as_seen(seen))
        except Conflict:
            if deletable is None or deletable.text != seen.text or self.read() is not None or self._seen is not None:
                raise

    def _free(self, held: Object) -> None:
        if self._spec.is_scratch:
            with contextlib.suppress(ActionDenied):  # Then it stays, free, as a lock of Terraform's would.
                self._client.delete("leases", self._spec.name, held.meta.uid, held.meta.version)
                return
        self._seen = self._client.replace("leases", _body(held, None, {}))

    def read_queue(self) -> QueueRecord | None:
        found = self._client.read("leases", self._queue)
        if found is None:
            return None
        return queue_record.decode_record((found.meta.annotations or {}).get(QUEUE, "").encode(), _version(found))

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        about: dict[str, Any] = {
            "name": self._queue,
            "annotations": {QUEUE: queue_record.encode_record(record).decode()},
        }
        if seen is None:
            written = self._client.create("leases", {"metadata": about, "spec": {}})
        else:
            uid, version = _taken_apart(seen.version)
            about |= {"uid": uid, "resourceVersion": version}
            written = self._client.replace("leases", {"metadata": about, "spec": {}})
        return msgspec.structs.replace(record, version=_version(written))

    def await_change(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Rest so long, or until the lock is not as the last `read` found it, or `is_over`. Raises as a store does."""
        version = self._seen.meta.version if self._seen else ""
        self._client.await_change(self._spec.name, version, seconds, is_over)

    def attempts(self) -> dict[str, Callable[[], object]]:
        """Give, for each thing that a lock needs, a question to the server whether we may."""
        return self._questions(self._spec.name, "get", "create", "update")

    def queue_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for the queue record."""
        return self._questions(self._queue, "get", "create", "update")

    def watch_attempts(self) -> dict[str, Callable[[], object]]:
        """The same for what wakes those who wait."""
        return self._questions(self._spec.name, "watch")

    def _questions(self, name: str, *verbs: str) -> dict[str, Callable[[], object]]:
        def question(verb: str) -> Callable[[], object]:
            return lambda: self._client.ask_permission(verb, "leases", name)

        return {f"leases:{verb}": question(verb) for verb in verbs}

    def _as_seen(self, seen: LockRecord) -> Object:
        """Return the whole Lease that a record was read from, read again where this store did not read it."""
        uid, version = _taken_apart(seen.version)
        if self._seen is None or _version(self._seen) != seen.version:
            self._seen = self._client.read("leases", self._spec.name)
        found, self._seen = self._seen, None
        if found is None or (found.meta.uid, found.meta.version) != (uid, version):
            raise Conflict("it is not as it was seen")
        return found

    def _made(self, record: LockRecord) -> LockRecord:
        about = {"name": self._spec.name, "labels": self._spec.labels, "annotations": _annotations(record)}
        written = self._client.create("leases", {"metadata": about, "spec": {"holderIdentity": record.id}})
        return self._written(written, record)

    def _write(self, seen: Object, record: LockRecord) -> LockRecord:
        written = self._client.replace("leases", _body(seen, record.id, _annotations(record)))
        return self._written(written, record)

    def _written(self, written: Object, record: LockRecord) -> LockRecord:
        self._seen = written
        record = msgspec.structs.replace(record, version=_version(written))
        self._deletable = record if self._spec.goes_with_workspace else None
        return record


def _annotations(record: LockRecord) -> dict[str, str]:
    ours = {LEASE: f"{record.id} {publish(record.lease).decode()}"} if record.lease is not None else {}
    return {INFO: record.text, **ours}


def _body(seen: Object, holder: str | None, annotations: dict[str, str]) -> dict[str, Any]:
    """Return the Lease with this holder and these annotations of Terraform's and ours, and all else as it was."""
    others = {key: text for key, text in (seen.meta.annotations or {}).items() if key not in (INFO, LEASE)}
    spec = {key: value for key, value in (seen.whole.get("spec") or {}).items() if key != "holderIdentity"}
    return {
        **seen.whole,
        "metadata": {**seen.whole["metadata"], "annotations": {**others, **annotations}},
        "spec": {**spec, **({} if holder is None else {"holderIdentity": holder})},
    }


def _record(found: Object) -> LockRecord | None:
    """Read the lock; None where nobody holds it. Its ID for `force-unlock` is the holder, whatever LockInfo says."""
    holder = found.spec.holder
    if holder is None:
        return None
    annotations = found.meta.annotations or {}
    text = annotations.get(INFO, "")
    info = decode(text)
    if info is None and len(text) > lockinfo.MAX_BYTES:
        text = text[: lockinfo.MAX_BYTES + 1]
    other = "" if info is not None and info.id == holder else holder
    return LockRecord(
        text=text,
        info=info,
        lease=_lease(annotations.get(LEASE, ""), holder) if not other else None,
        version=_version(found),
        force_unlock_id=other,
    )


def _lease(text: str, holder: str) -> Lease | None:
    """Read our lease, if it is this holder's."""
    whose, _, said = text.partition(" ")
    if not holder or whose != holder:
        return None
    try:
        return parse(said, Lease)
    except msgspec.DecodeError:
        return None


def _version(found: Object) -> str:
    return f"{found.meta.uid} {found.meta.version}"


def _taken_apart(version: str) -> tuple[str, str]:
    uid, _, number = version.partition(" ")
    if not uid or not number:
        raise Conflict("the record was never stored")
    return uid, number
