"""
A state in Consul, and copies beside it of what Terraform could not save.

Terraform writes a state as it is or compressed, and one that is larger than a key may be as chunks, which a JSON in the
state's own key lists. A copy is no larger than one key may be.
"""

from __future__ import annotations

import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.consul.client import Client
from tfguard.errors import StoreUnavailable
from tfguard.lock.names import COPY_MARK
from tfguard.wire import parse

if TYPE_CHECKING:
    from tfguard.backends.consul.spec import ConsulState

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 512 * 1024


class _Chunks(msgspec.Struct, frozen=True):
    """What stands in the state's key where the state is in several. Their names are hashes under the current one."""

    hash: str = msgspec.field(name="current-hash")
    chunks: list[str]


def read_state(state: ConsulState, max_bytes: int) -> bytes | None:
    """Return the first bytes of the state, as `StateSpec.read` does."""
    with closing(Client(state.consul)) as client:
        found = client.read(state.path)
        if not found:
            return None
        content = found[0].content
        try:
            parts = parse(content, _Chunks)
        except msgspec.DecodeError:
            pass
        else:
            content = b"".join(part.content for chunk in parts.chunks for part in client.read(chunk))
    return _plain(content, max_bytes)


def _plain(content: bytes, max_bytes: int) -> bytes:
    if not content.startswith(_GZIP):
        return content[:max_bytes]
    try:
        return zlib.decompressobj(wbits=31).decompress(content, max_bytes)
    except zlib.error:
        return content[:max_bytes]


def keep_copy(state: ConsulState, path: str, lock_id: str) -> str:
    """Copy a file beside the state, as `StateSpec.keep_copy` does."""
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise StoreUnavailable("It is larger than 512 KiB, which is the most that a key of Consul's may be.")
    key = _copies(state) + lock_id
    with closing(Client(state.consul)) as client:
        client.put(key, content)
    return _place(state, key)


def find_copies(state: ConsulState) -> list[str]:
    """Return where the copies are, as `StateSpec.find_copies` does."""
    with closing(Client(state.consul)) as client:
        return [_place(state, key) for key in sorted(client.names(_copies(state)))]


def _place(state: ConsulState, key: str) -> str:
    return f"consul://{state.consul.address}/{key}"


def _copies(state: ConsulState) -> str:
    return f"{state.path.rstrip('/')}/{COPY_MARK}"
