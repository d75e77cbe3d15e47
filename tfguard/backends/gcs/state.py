"""A state in Google Cloud Storage, and copies beside it of what Terraform could not save, encrypted as it is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tfguard.backends.gcs.client import client_of, customer_key
from tfguard.errors import Conflict, StoreUnavailable
from tfguard.lock.names import COPY_MARK

if TYPE_CHECKING:
    from tfguard.backends.gcs.spec import GcsState

_LOOKS = 3


def read_state(state: GcsState, max_bytes: int) -> bytes | None:
    """Return the first bytes of the state, as `StateSpec.read` does."""
    with closing(client_of(state)) as client:
        for _ in range(_LOOKS):
            about = client.about(state.key)
            if about is None:
                return None
            try:
                return client.body(about, max_bytes, customer_key(state))
            except Conflict:
                continue  # It has been written anew in between.
    raise StoreUnavailable(f"{state.place} keeps changing while we read it.")


def keep_copy(state: GcsState, path: str, lock_id: str) -> str:
    """Copy a file beside the state, as `StateSpec.keep_copy` does."""
    with open(path, "rb") as file:
        body = file.read()
    key = f"{state.key}{COPY_MARK}{lock_id}"
    with closing(client_of(state)) as client:
        client.write(key, body, headers=customer_key(state), kms_key=state.kms_key)
    return f"gs://{state.bucket}/{key}"
