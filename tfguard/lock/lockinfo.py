"""
Terraform's LockInfo, byte for byte.

Whoever reads a lock — Terraform, OpenTofu, a person — must find exactly what Go's encoder would have written:
OpenTofu's unlock compares the whole text (facts of opentofu 1.10 and later), and a `Created` that does not parse
makes every waiting Terraform fail at once instead of waiting. So we encode as Go does, and never re-encode what
somebody else wrote.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import msgspec

from tfguard.clock import _RFC3339
from tfguard.text import printable, valid

#: A lock record larger than this is not one of Terraform's, and nothing we want in memory or on a terminal.
MAX_BYTES = 64 * 1024

_FIELDS = ("ID", "Operation", "Info", "Who", "Version", "Created", "Path")
_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_GO_ESCAPED = re.compile("[<>&\u2028\u2029]")


class LockInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The seven fields of Terraform's LockInfo, in its order. `created` is RFC 3339 in UTC, as text."""

    id: str
    operation: str = ""
    info: str = ""
    who: str = ""
    version: str = ""
    created: str = ""
    path: str = ""

    def encode(self) -> str:
        """
        Return the text that Go's `json.Marshal` gives for these values.

        For a byte that is no UTF-8 Go writes an escaped U+FFFD. OpenTofu, which reads this and writes it again to
        compare both, writes the letter itself; so do we.
        """
        values = (self.id, self.operation, self.info, self.who, self.version, self.created, self.path)
        text = valid(json.dumps(dict(zip(_FIELDS, values)), ensure_ascii=False, separators=(",", ":")))
        return _GO_ESCAPED.sub(lambda match: _GO_ESCAPES[match[0]], text)


def decode(text: str) -> LockInfo | None:
    """
    Read a LockInfo as Terraform would: keys in any case, unknown keys ignored, missing ones empty.

    Returns None where Terraform would call the lock unreadable: not a JSON object, a field that is no string,
    no ID, a `Created` that is not RFC 3339 — or more than 64 KiB of it. What is returned may be printed.
    """
    fields = decode_object(text)
    if fields is None:
        return None
    folded = {key.lower(): value for key, value in fields.items()}
    values = {name.lower(): folded.get(name.lower()) or "" for name in _FIELDS}
    if not all(isinstance(value, str) for value in values.values()):
        return None
    if not values["id"] or (values["created"] and not _RFC3339.fullmatch(values["created"])):
        return None
    return LockInfo(**{name: printable(value, MAX_BYTES) for name, value in values.items()})


def decode_object(text: str) -> dict[str, Any] | None:
    """Parse a JSON object of bounded size and depth; None where it is anything else."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return value if isinstance(value, dict) else None


#: How what tfguard adds starts where a store keeps it within the LockInfo: one more key at the end, which Terraform
#: ignores.
_OUR_KEY = ',"tfguard":'


def extended(text: str, ours: bytes) -> bytes:
    """Return a LockInfo with JSON of ours within it."""
    return text[:-1].encode() + _OUR_KEY.encode() + ours + b"}"


def taken_apart(body: str) -> tuple[str, str]:
    """Return the LockInfo, and our JSON that was within it; all of it and nothing where it has none of ours."""
    head, key, tail = body.rpartition(_OUR_KEY)
    if not key or not tail.endswith("}") or decode_object(head + "}") is None:
        return body, ""
    return head + "}", tail[:-1]


def new_lock_id() -> str:
    """A lock ID nobody has used before, in the form of Terraform's (8-4-4-4-12 lower hex)."""
    return str(uuid.uuid4())
