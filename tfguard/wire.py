"""
Words as JSON, whatever bytes they are made of.

Names of files, arguments and variables are bytes, and need not be UTF-8. Python shows such a byte as a lone surrogate,
for which JSON has no place. Among ourselves every byte arrives (`pack`, `unpack`): between our processes, and in files
that only we read. What others read (stores, reports, platforms) has U+FFFD in its place (`publish`), as Terraform has.
What others have written is a `Stranger`.

msgspec finds out how a class is read when it is first asked, and another thread that asks meanwhile is given half of
that, and crashes. So nobody asks it elsewhere: here one thread at a time does (`parse`, `convert`, `decoder`).
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from tfguard.text import escaped_json, printable, valid

Value = TypeVar("Value")

#: What stands as NUL and four hexadecimal digits in a packed text. NUL is among it, so that nothing else looks so.
_ODD = re.compile("[\x00\ud800-\udfff]")
_HIDDEN = re.compile("\x00([0-9a-f]{4})")
_NUL = b"\\u0000"
#: The longest text of a stranger's record that is kept: a path of Linux's.
_LONGEST = 4096
_asking = threading.Lock()


def decoder(kind: Any, float_hook: Callable[[str], Any] | None = None) -> msgspec.json.Decoder[Any]:
    """Return what reads JSON as values of this class, or union of classes."""
    with _asking:
        return msgspec.json.Decoder(kind, float_hook=float_hook)


_decoder = functools.cache(decoder)


def parse(content: bytes | str, kind: type[Value]) -> Value:
    """
    Return the value of this class that JSON says.

    Raises msgspec.DecodeError where it is something else, also no text at all, or more deeply nested than can be read.
    """
    key: Any = kind
    try:
        value: Value = _decoder(key).decode(content)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return value


def convert(value: object, kind: Any, *, str_keys: bool = False) -> Any:
    """Return what has been read from JSON as a value of this class. Raises msgspec.ValidationError if it is none."""
    _decoder(kind)
    return msgspec.convert(value, kind, str_keys=str_keys)


def pack(value: object) -> bytes:
    """Return one line of JSON, from which an `Unpacker` makes exactly this value again."""
    try:
        line = msgspec.json.encode(value)
    except UnicodeEncodeError:
        line = _NUL
    return msgspec.json.encode(_each_text(msgspec.to_builtins(value), _hide)) if _NUL in line else line


class Unpacker:
    """Reads what `pack` wrote of one kind of value: a class, or a union of classes."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decoder = decoder(kind)

    def unpack(self, line: bytes) -> Any:
        """Return what was packed. Raises msgspec.DecodeError where it is something else."""
        if _NUL not in line:
            return self._decoder.decode(line)
        return convert(_each_text(msgspec.json.decode(line), _show), self._kind, str_keys=True)


def unpack(line: bytes, kind: type[Value]) -> Value:
    """Return what was packed, of this class. Raises msgspec.DecodeError where it is something else."""
    found: Value = Unpacker(kind).unpack(line)
    return found


def publish(value: object, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Return one line of JSON for others than us: what is no UTF-8 in it is U+FFFD. `enc_hook` as msgspec has it."""
    try:
        return msgspec.json.encode(value, enc_hook=enc_hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_each_text(msgspec.to_builtins(value, enc_hook=enc_hook), valid))


def canonical(value: object) -> bytes:
    """Return the one line of JSON that stands for a value, whatever the order of the names in it. Of true text only."""
    return msgspec.json.encode(value, order="deterministic")


def printable_json(value: object, *, is_compact: bool = False) -> str:
    """Return JSON for people and programs, harmless to a terminal and to a CI's log on its way; indented, or a line."""
    line = publish(value)
    return escaped_json((line if is_compact else msgspec.json.format(line)).decode())


class Stranger(msgspec.Struct, frozen=True):
    """
    What strangers have written, as it is read from where it lay. Its texts are harmless from the moment it is made, so
    that no message can forget it.

    `used_raw`: fields that are no words for people but names to use; whoever shows one makes it harmless.
    """

    used_raw: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str) and name not in self.used_raw and (clean := printable(value, _LONGEST)) != value:
                msgspec.structs.force_setattr(self, name, clean)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_each_text(key, change): _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(item, change) for item in value]
    return value


def _hide(text: str) -> str:
    return _ODD.sub(lambda match: f"\x00{ord(match[0]):04x}", text)


def _show(text: str) -> str:
    return _HIDDEN.sub(lambda match: chr(int(match[1], 16)), text)
