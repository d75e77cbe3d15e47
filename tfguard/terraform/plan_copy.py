"""
A copy of a saved plan with another attribute of its backend: `apply FILE` works on what the file says, on nothing else.

Terraform signs no plan. Of the zip's member `tfplan`, field 13.2.1 is the backend's configuration as MessagePack; it is
written anew, and all else is copied as it is.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tfguard.errors import ConfigError

_MEMBER = "tfplan"
#: As in `plan_file`: Plan.backend, Backend.config, DynamicValue.msgpack.
_PATH = (13, 2, 1)


def copy_with(plan: Path, place: Path, attributes: Mapping[str, str | bool]) -> None:
    """
    Write a copy of a plan that `plan_file` could read, these attributes of its backend in place of its own.

    Only we may read it. Raises ConfigError: It is another plan than was read, or there is no room.
    """
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file, zipfile.ZipFile(plan) as old, zipfile.ZipFile(file, "w") as new:
            for member in old.infolist():
                content = old.read(member)
                if member.filename == _MEMBER:
                    content = _changed(content, _PATH, attributes)
                new.writestr(member, content, zipfile.ZIP_DEFLATED)
    except (OSError, zipfile.BadZipFile, _Unexpected, msgspec.DecodeError) as error:
        raise ConfigError(
            f"the plan cannot be copied for a run under our lock: {error}.",
            "Make the plan again, or make room in TMPDIR.",
        ) from error


class _Unexpected(Exception):
    """It is no message as `plan_file` has read it."""


def _changed(message: bytes, path: tuple[int, ...], attributes: Mapping[str, str | bool]) -> bytes:
    """Return the message with the field at `path` written anew."""
    if not path:
        config = msgspec.msgpack.decode(message, type=dict[str, Any], ext_hook=msgspec.msgpack.Ext)
        return msgspec.msgpack.encode({**config, **attributes})
    parts, at = [], 0
    while at < len(message):
        tag, after = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 2:
            size, start = _varint(message, after)
            end = start + size
            part = message[start:end]
            if number == path[0]:
                part = _changed(part, path[1:], attributes)
            parts += [message[at:after], _encoded(len(part)), part]
        else:
            end = _varint(message, after)[1] if kind == 0 else after + {1: 8, 5: 4}.get(kind, len(message))
            parts.append(message[at:end])
        if end > len(message):
            raise _Unexpected("it is cut short")
        at = end
    return b"".join(parts)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Unexpected("a number in it is none")


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
