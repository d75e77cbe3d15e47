"""
A state in a Secret, and copies beside it of what Terraform could not save.

Terraform compresses a state, and cuts one that is larger than a Secret may be into parts: the first in the Secret of
the state's own name, the others in `…-part-N`. A copy is kept compressed, in one Secret, without the label by which
Terraform finds its states.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

from tfguard.backends.kubernetes.client import Client
from tfguard.errors import StoreUnavailable

if TYPE_CHECKING:
    from tfguard.backends.kubernetes.spec import KubernetesState

_KEY = "tfstate"
_COPY_OF = "tfguard.io/copy-of"
_MOST_BYTES = 1024 * 1024
_MOST_PARTS = 512


def read_state(state: KubernetesState, max_bytes: int) -> bytes | None:
    """Return the first bytes of the state, as `StateSpec.read` does."""
    unpacked = zlib.decompressobj(wbits=31)
    content = b""
    with closing(Client(state.kubernetes, state.namespace)) as client:
        for number in range(_MOST_PARTS):
            part = client.read("secrets", state.name if number == 0 else f"{state.name}-part-{number}")
            if part is None:
                return None if number == 0 else content
            try:
                packed = base64.b64decode(part.data.get(_KEY, ""))
                content += unpacked.decompress(packed, max_bytes - len(content))
            except (zlib.error, binascii.Error):
                return content
            if unpacked.eof or len(content) >= max_bytes:
                break
    return content


def keep_copy(state: KubernetesState, path: str, lock_id: str) -> str:
    """Copy a file beside the state, as `StateSpec.keep_copy` does."""
    with open(path, "rb") as file:
        packing = zlib.compressobj(wbits=31)
        packed = packing.compress(file.read()) + packing.flush()
    if len(packed) > _MOST_BYTES:
        raise StoreUnavailable("It is larger than 1 MiB, compressed, which is the most that a Secret may be.")
    name = f"{state.name}.errored.{lock_id}"
    body = {
        "metadata": {"name": name, "labels": {_COPY_OF: _label(state.name)}},
        "data": {_KEY: base64.b64encode(packed).decode()},
    }
    with closing(Client(state.kubernetes, state.namespace)) as client:
        client.create("secrets", body)
    return _place(state, name)


def find_copies(state: KubernetesState) -> list[str]:
    """Return where the copies are, as `StateSpec.find_copies` does."""
    with closing(Client(state.kubernetes, state.namespace)) as client:
        names = [about.name for about, _ in client.named("secrets", f"{_COPY_OF}={_label(state.name)}")]
    return [_place(state, name) for name in sorted(names) if name.startswith(f"{state.name}.errored.")]


def _label(name: str) -> str:
    """A label has no more than 63 letters, the last of them no dash or dot."""
    return name[:63].rstrip("-._")


def _place(state: KubernetesState, name: str) -> str:
    return f"k8s://{state.namespace}/{name}"
