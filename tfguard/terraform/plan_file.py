"""
What a saved plan says about its backend: `apply FILE` locks what the file names, not what the directory does. And when
it was made.

A plan is a zip whose member `tfplan` is a protobuf message; of it we read single fields, in a stream, bounded in size.
What we cannot read — a cloud plan, an encrypted one, anything else — comes back as a reason, and is left to Terraform.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from tfguard.backends.target import PlannedBackend
from tfguard.clock import parse_created
from tfguard.wire import parse

_MAX_FILE_BYTES = 512 * 1024 * 1024
_MAX_PLAN_BYTES = 512 * 1024 * 1024
_MAX_BACKEND_BYTES = 1024 * 1024

#: Field numbers of Terraform's planfile.proto.
_PLAN_BACKEND, _PLAN_TIMESTAMP = 13, 21
_BACKEND_TYPE, _BACKEND_CONFIG, _BACKEND_WORKSPACE = 1, 2, 3
_DYNAMIC_VALUE_MSGPACK = 1
#: The members of the zip: the plan, and the state that it was made on.
_PLAN, _STATE = "tfplan", "tfstate"


class UnreadablePlan(msgspec.Struct, frozen=True):
    """Why a file is not a plan that we can read, for people."""

    reason: str


class _State(msgspec.Struct):
    lineage: str = ""


class _Malformed(Exception):
    """The bytes are not what they should be."""


def read_planned_backend(path: Path) -> PlannedBackend | UnreadablePlan:
    """Read the backend from the saved plan at `path`. Never raises: hostile and foreign files have a reason."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return UnreadablePlan("there is no such plan file")
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
        return UnreadablePlan("it is no plan file of ordinary size")
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return UnreadablePlan(_foreign(path))
            return _parse_backend(_read_field(file, _PLAN_BACKEND))
    except _Malformed as error:
        return UnreadablePlan(f"it is not a plan file that tfguard can read ({error})")
    except OSError as error:
        return UnreadablePlan(f"it cannot be read ({error.strerror})")


def read_planned_at(path: Path) -> datetime | None:
    """When the plan at `path` was made, by the clock of the machine that made it; None if it does not say."""
    try:
        with path.open("rb") as file:
            return parse_created(_read_field(file, _PLAN_TIMESTAMP).decode())
    except (_Malformed, OSError, ValueError):
        return None


def read_lineage(path: Path) -> str:
    """The lineage of the state that the plan at `path` was made on; empty where that was none, or it does not say."""
    try:
        with path.open("rb") as file:
            state = parse(_read_member(file, _STATE), _State)
    except (_Malformed, OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    return state.lineage


def _foreign(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head.lstrip().startswith(b"{"):
        return "it is a cloud plan or an encrypted one; both hide their backend"
    return "it is no saved plan"


def _read_field(file: IO[bytes], wanted: int) -> bytes:
    with _opened(file, _PLAN) as member:
        return _find_field(_Reader(member), wanted)


def _read_member(file: IO[bytes], name: str) -> bytes:
    with _opened(file, name) as member:
        content = member.read(_MAX_PLAN_BYTES + 1)
        if len(content) > _MAX_PLAN_BYTES:
            raise _Malformed("too large")
        return content


@contextlib.contextmanager
def _opened(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Open a member of the zip. Whatever is broken about it, while it is read too, is _Malformed."""
    # Few calls need these: every other start of tfguard goes without.
    import struct
    import zipfile
    import zlib

    broken = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, OverflowError)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(name) as member:
            yield member
    except (*broken, RuntimeError, NotImplementedError) as error:
        raise _Malformed(type(error).__name__) from error


class _Reader:
    """A protobuf message, read once from start to end without keeping what is skipped."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _MAX_PLAN_BYTES

    def take(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise _Malformed("too large")
        data = self._stream.read(size)
        if len(data) != size:
            raise _Malformed("cut short")
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, 65536)))

    def varint(self, first: bytes | None = None) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = (first if first is not None and shift == 0 else self.take(1))[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Malformed("bad number")

    def next_field(self) -> tuple[int, int] | None:
        """Return the number and wire type of the next field, None at the end."""
        first = self._stream.read(1)
        if not first:
            return None
        tag = self.varint(first)
        return tag >> 3, tag & 7

    def skip_value(self, wire_type: int) -> None:
        if wire_type == 0:
            self.varint()
        elif wire_type in (1, 5):
            self.skip(8 if wire_type == 1 else 4)
        elif wire_type == 2:
            self.skip(self.varint())
        else:
            raise _Malformed("bad field")


def _find_field(reader: _Reader, wanted: int) -> bytes:
    while (found := reader.next_field()) is not None:
        number, wire_type = found
        if number == wanted and wire_type == 2:
            size = reader.varint()
            if size > _MAX_BACKEND_BYTES:
                raise _Malformed("too large")
            return reader.take(size)
        reader.skip_value(wire_type)
    raise _Malformed("names no backend" if wanted == _PLAN_BACKEND else "a part is missing")


def _optional_field(message: bytes, wanted: int) -> bytes:
    import io

    try:
        return _find_field(_Reader(io.BytesIO(message)), wanted)
    except _Malformed:
        return b""


def _parse_backend(message: bytes) -> PlannedBackend:
    config = _parse_config(_optional_field(_optional_field(message, _BACKEND_CONFIG), _DYNAMIC_VALUE_MSGPACK))
    kind = _text(_optional_field(message, _BACKEND_TYPE))
    if not kind:
        raise _Malformed("names no backend")
    return PlannedBackend(kind, config, _text(_optional_field(message, _BACKEND_WORKSPACE)))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _Malformed("a name is no text") from error


def _parse_config(data: bytes) -> dict[str, Any]:
    try:
        # Terraform writes values it does not know yet as an extension; for us they are as good as unset.
        config = msgspec.msgpack.decode(data, type=dict[str, Any], ext_hook=lambda code, value: None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Malformed("bad configuration") from error
    return config
