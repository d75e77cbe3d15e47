"""The queue record as a file or an object: its text and its revision, as JSON."""

from __future__ import annotations

import msgspec

from tfguard.lock.store import QueueRecord

#: More than that is not read: it is nobody's queue.
MAX_BYTES = 1024 * 1024


class _Body(msgspec.Struct, frozen=True):
    revision: int
    queue: str


def encode(record: QueueRecord) -> bytes:
    """Write the record as what is stored; its version belongs to the store."""
    return msgspec.json.encode(_Body(revision=record.revision, queue=record.text))


def decode(content: bytes, version: str = "") -> QueueRecord:
    """Read what is stored. What is not ours becomes a record all the same, so that it can be replaced."""
    try:
        body = msgspec.json.decode(content, type=_Body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return QueueRecord(text=content.decode("utf-8", "replace"), version=version)
    return QueueRecord(text=body.queue, revision=body.revision, version=version)
