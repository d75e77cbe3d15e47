"""
The state itself, as far as a lock's holder has to care: its digest, and a copy of what Terraform could not save.

tfguard never writes the state: only Terraform does. The copies here stand beside it under names of their own.
"""

from __future__ import annotations

import hashlib
import os

import msgspec

from tfguard.backends.spec import LockSpec, Probe
from tfguard.backends.target import Target
from tfguard.errors import StoreUnavailable, TfguardError
from tfguard.wire import parse

_MAX_STATE_BYTES = 512 * 1024 * 1024


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A state whose MD5 is `actual` (empty: there is none), though the item `item` in `table` says `stored`."""

    place: str
    table: str
    item: str
    stored: str
    actual: str


def mismatch(target: Target) -> Digest | None:
    """
    Compare the state with the digest that Terraform keeps beside its lock; None where they agree, or there is nothing.

    Terraform writes one after the other; a run that died between the two leaves a state that no Terraform reads.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    keeper = _digest_keeper(target)
    if keeper is None or target.state is None:
        return None
    stored = keeper.read_digest()
    if stored is None:
        return None
    body = target.state.read(_MAX_STATE_BYTES)
    actual = "" if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()
    if stored.md5 == actual:
        return None
    return Digest(place=target.state.place, table=stored.table, item=stored.item, stored=stored.md5, actual=actual)


def has_digest(target: Target) -> bool:
    """Whether Terraform keeps a digest of this state beside its lock."""
    return target.state is not None and _digest_keeper(target) is not None


def _digest_keeper(target: Target) -> LockSpec | None:
    return next((spec for spec in target.stores if spec.keeps_digest), None)


class StateFacts(msgspec.Struct, frozen=True):
    """What a state says of itself, and the MD5 of its bytes."""

    serial: int
    lineage: str
    resources: int
    md5: str


def read_facts(target: Target) -> StateFacts | None:
    """
    Read the state's object; None where there is none, or it is no state that Terraform could read.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    if target.state is None:
        return None
    body = target.state.read(_MAX_STATE_BYTES)
    try:
        found = parse(body or b"", _State)
    except msgspec.DecodeError:
        return None
    md5 = hashlib.md5(body or b"", usedforsecurity=False).hexdigest()
    return StateFacts(found.serial, found.lineage, len(found.resources), md5) if found.version == _VERSION else None


class _State(msgspec.Struct, frozen=True):
    version: int
    serial: int
    lineage: str
    resources: list[msgspec.Raw] = []


#: The version of the format of states since Terraform 0.12.
_VERSION = 4


def repair_digest(target: Target, found: Digest) -> None:
    """
    Write the digest of the state as it is. Only for who holds the lock.

    Raises:
        Conflict: The digest is not the one that was found any more.

        StoreUnavailable, StoreDenied, StoreMisconfigured: As the store says.
    """
    keeper = _digest_keeper(target)
    assert keeper is not None  # It was found there.
    keeper.replace_digest(found.stored, found.actual)


def keep_copy(target: Target, path: str, lock_id: str) -> str:
    """
    Copy the file at `path` beside the state, encrypted as the state is, or beside its lock's guard; return where it is.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    state = target.copies_place
    if state is None:
        raise StoreUnavailable("There is no place for a copy of it beside this lock.")
    try:
        return state.keep_copy(path, lock_id)
    except OSError as error:
        raise StoreUnavailable(f"{os.path.basename(path)} cannot be copied: {error.strerror}.") from error


def find_copies(target: Target) -> list[str]:
    """
    Return where the copies are that `keep_copy` has made of this state and nobody has taken away.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    state = target.copies_place
    return [] if state is None else state.find_copies()


def is_there(target: Target, place: str) -> bool:
    """Whether a copy that `keep_copy` made is still there; where that cannot be told, it is."""
    state = target.copies_place
    if state is None:
        return os.path.exists(place)
    try:
        return state.has_copy(place)
    except TfguardError:
        return True


def workspace_exists(probe: Probe) -> bool:
    """
    Whether Terraform would find the workspace that it creates under a lock of its own otherwise.

    Raises:
        StoreDenied: We may not ask. Terraform may not either, and then takes the workspace for missing.
    """
    return probe.exists()
