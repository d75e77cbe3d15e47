"""
The state itself, as far as a lock's holder has to care: its digest, and a copy of what Terraform could not save.

tfguard never writes the state: only Terraform does. The copies here stand beside it under names of their own.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from contextlib import closing

import msgspec

from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.backends.target import LocalSpec, Target
from tfguard.errors import StoreUnavailable, TfguardError
from tfguard.lock.names import COPY_MARK, DIGEST_SUFFIX

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
    Compare the state with the digest that Terraform keeps in DynamoDB; None where they agree, or there is nothing.

    Terraform writes one after the other; a run that died between the two leaves a state that no Terraform reads.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    spec = next((spec for spec in target.stores if isinstance(spec, DynamoDBSpec)), None)
    if spec is None or target.state is None:
        return None
    from tfguard.backends.aws.dynamodb import DynamoDBStore
    from tfguard.backends.aws.s3 import S3Store

    with closing(DynamoDBStore(spec)) as table, closing(S3Store(target.state)) as bucket:
        stored = table.read_digest()
        body = bucket.read_body(target.state.key, _MAX_STATE_BYTES) if stored else None
    actual = "" if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()
    if not stored or stored == actual:
        return None
    item = spec.lock_id + DIGEST_SUFFIX
    return Digest(place=bucket.place, table=spec.table, item=item, stored=stored, actual=actual)


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
    from tfguard.backends.aws.s3 import S3Store

    with closing(S3Store(target.state)) as bucket:
        body = bucket.read_body(target.state.key, _MAX_STATE_BYTES)
    try:
        found = msgspec.json.decode(body or b"", type=_State)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
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
    spec = next(spec for spec in target.stores if isinstance(spec, DynamoDBSpec))
    from tfguard.backends.aws.dynamodb import DynamoDBStore

    with closing(DynamoDBStore(spec)) as table:
        table.replace_digest(found.stored, found.actual)


def keep_copy(target: Target, path: str, lock_id: str) -> str:
    """
    Copy the file at `path` beside the state, encrypted as the state is, and say where it is.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    try:
        if target.state is None:
            return _keep_local_copy(target, path, lock_id)
        with open(path, "rb") as file:
            body = file.read()
    except OSError as error:
        raise StoreUnavailable(f"{os.path.basename(path)} cannot be copied: {error.strerror}.") from error
    from tfguard.backends.aws.s3 import S3Store

    key = f"{target.state.key}{COPY_MARK}{lock_id}"
    with closing(S3Store(target.state)) as bucket:
        bucket.write_body(key, body)
    return f"s3://{target.state.bucket}/{key}"


def _keep_local_copy(target: Target, path: str, lock_id: str) -> str:
    spec = next((spec for spec in target.stores if isinstance(spec, LocalSpec)), None)
    if spec is None:
        raise StoreUnavailable("There is no place for a copy of it beside this lock.")
    place = f"{spec.path}{COPY_MARK}{lock_id}"
    shutil.copyfile(path, place)
    os.chmod(place, 0o600)
    return place


def find_copies(target: Target) -> list[str]:
    """
    Name the copies that `keep_copy` has made of this state and nobody has taken away.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    if target.state is None:
        paths = [spec.path for spec in target.stores if isinstance(spec, LocalSpec)]
        return sorted(found for path in paths for found in glob.glob(f"{glob.escape(path)}{COPY_MARK}*"))
    from tfguard.backends.aws.s3 import S3Store

    with closing(S3Store(target.state)) as bucket:
        keys = bucket.list_keys(f"{target.state.key}{COPY_MARK}")
    return [f"s3://{target.state.bucket}/{key}" for key in keys]


def is_there(target: Target, place: str) -> bool:
    """Whether a copy that `keep_copy` made is still there; where that cannot be told, it is."""
    if target.state is None:
        return os.path.exists(place)
    from tfguard.backends.aws.s3 import S3Store

    prefix = f"s3://{target.state.bucket}/"
    try:
        with closing(S3Store(target.state)) as bucket:
            return not place.startswith(prefix) or bucket.read_body(place.removeprefix(prefix), 1) is not None
    except TfguardError:
        return True
