"""
The backend as the configuration declares it: for a directory in which `init` has not been run, or cannot be yet.

Terraform allows only plain values in a backend block, and those are all that is read here; an expression, which
OpenTofu allows, is left out and remembered. Where `init` has been run, its cache is the better source: see `workdir`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tfguard import hcl
from tfguard.errors import ConfigError
from tfguard.text import printable

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|(\$\$\{|%%\{)", re.DOTALL)
_TEMPLATE = re.compile(r"(?<!\$)\$\{|(?<!%)%\{")
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None}
_OPEN, _CLOSE = frozenset("{[("), frozenset("}])")


@dataclass(frozen=True)
class Declared:
    """
    A backend block: its type and its plain values. `unread` are the attributes whose values are expressions.

    `config` may hold secrets.
    """

    type: str
    config: Mapping[str, Any] = field(repr=False)
    unread: frozenset[str] = frozenset()


class _NotPlain(Exception):
    """An expression, where a plain value was looked for."""


def find_block(sources: Iterator[tuple[Path, str]]) -> Declared | None:
    """Return the first backend block of the files, which come in the order in which Terraform lets them count."""
    for path, text in sources:
        found = _in_json(text) if path.name.endswith(".json") else _in_hcl(text)
        if found is not None:
            return found
    return None


def read_backend_file(path: str) -> Declared:
    """
    Read a file as `init -backend-config=FILE` does: a block's inside, or a JSON object.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if path.endswith(".json"):
            return Declared("", msgspec.json.decode(text, type=dict[str, Any]))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"backend_config: {printable(path, 60)} cannot be read.\nCheck the path.") from error
    return Declared("", *_body(list(hcl.tokens(text))))


def read_assignment(text: str) -> Declared:
    """Read `KEY=VALUE` as `init -backend-config=KEY=VALUE` does: a text, or a map or list as a file would have it."""
    name, _, value = text.partition("=")
    if value.lstrip()[:1] in ("{", "["):
        return Declared("", *_body(list(hcl.tokens(f"{name} = {value}\n"))))
    return Declared("", {name.strip(): value})


def _in_json(text: str) -> Declared | None:
    try:
        content = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None  # Terraform will say what is wrong with its own files.
    for settings in blocks_of(content.get("terraform")):
        for backends in blocks_of(settings.get("backend")):
            for kind, blocks in backends.items():
                return Declared(kind, next(iter(blocks_of(blocks)), {}))
    return None


def blocks_of(value: object) -> list[dict[str, Any]]:
    """In JSON a block is an object, or a list of them."""
    return [block for block in (value if isinstance(value, list) else [value]) if isinstance(block, dict)]


def _in_hcl(text: str) -> Declared | None:
    tokens = list(hcl.tokens(text))
    depth, is_terraform = 0, False
    header: list[str] = []
    for index, (kind, word) in enumerate(tokens):
        if kind in ("word", "text"):
            header.append(word.strip('"'))
            continue
        if word == "{":
            if depth == 0:
                is_terraform = header == ["terraform"]
            elif depth == 1 and is_terraform and header[:1] == ["backend"] and len(header) == 2:
                return Declared(header[1], *_body(tokens[index + 1 :]))
            depth += 1
        elif word == "}":
            depth -= 1
        header = []
    return None


def _body(tokens: list[hcl.Token]) -> tuple[dict[str, Any], frozenset[str]]:
    try:
        return _Reader(tokens).body()
    except RecursionError:
        return {}, frozenset()  # Nothing nested like that is a backend.


class _Reader:
    """Reads attributes and blocks up to the brace that ends them, or to the end."""

    def __init__(self, tokens: list[hcl.Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def body(self) -> tuple[dict[str, Any], frozenset[str]]:
        config: dict[str, Any] = {}
        unread: set[str] = set()
        while self._word not in ("}", ""):
            kind, name = self._take()
            if kind != "word":
                continue
            if self._word == "{":
                self._take()
                config[name], within = self.body()
                unread.update(f"{name}.{each}" for each in within)
                self._take()
            elif self._word == "=":
                self._take()
                start = self._at
                try:
                    config[name] = self._value()
                    self._end_of_line()
                except _NotPlain:
                    config.pop(name, None)
                    unread.add(name)
                    self._at = start
                    self._skip_line()
        return config, frozenset(unread)

    @property
    def _word(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> hcl.Token:
        self._at += 1
        return self._tokens[self._at - 1] if self._at <= len(self._tokens) else ("sign", "")

    def _value(self) -> Any:
        kind, word = self._take()
        if kind == "text":
            return _unescaped(word[1:-1])
        if kind == "number":
            return float(word) if "." in word else int(word)
        if kind == "word" and word in _WORDS:
            return _WORDS[word]
        if word == "[":
            return list(self._items("]", self._value))
        if word == "{":
            return dict(self._items("}", self._pair))
        raise _NotPlain

    def _items(self, end: str, item: Any) -> Iterator[Any]:
        self._skip_separators()
        while self._word != end:
            yield item()
            self._skip_separators()
        self._take()

    def _pair(self) -> tuple[str, Any]:
        kind, word = self._take()
        if kind not in ("word", "text") or self._take()[1] not in ("=", ":"):
            raise _NotPlain
        return (_unescaped(word[1:-1]) if kind == "text" else word), self._value()

    def _skip_separators(self) -> None:
        while self._word in ("\n", ","):
            self._take()

    def _end_of_line(self) -> None:
        if self._word not in ("\n", "}", ""):
            raise _NotPlain

    def _skip_line(self) -> None:
        """Leave an expression, which ends with its line once its brackets are closed."""
        depth = 0
        while self._word and not (depth == 0 and self._word in ("\n", "}")):
            word = self._take()[1]
            depth += (word in _OPEN) - (word in _CLOSE)


def _unescaped(text: str) -> str:
    if _TEMPLATE.search(text):
        raise _NotPlain

    def plain(match: re.Match[str]) -> str:
        short, long, single, doubled = match.groups()
        if doubled:
            return str(doubled[1:])
        if not (short or long):
            return _NAMED.get(single, single)
        point = int(short or long, 16)
        if point > sys.maxunicode:
            raise _NotPlain
        return chr(point)

    return _ESCAPE.sub(plain, text)
