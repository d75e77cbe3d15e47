"""
The backend as the configuration declares it: for a directory in which `init` has not been run, or cannot be yet.

Terraform allows only plain values in a backend block, and those are all that is read here, however they are written
(`1e1`, a heredoc, `"${"a"}"`); an expression, which OpenTofu allows, is left out and remembered. Where `init` has been
run, its cache is the better source: see `workdir`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tfguard import hcl
from tfguard.errors import ConfigError
from tfguard.text import printable
from tfguard.wire import parse

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|(\$\$\{|%%\{)", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None}
_OPEN, _CLOSE = frozenset("{[("), frozenset("}])")
#: Terraform passes it over at the beginning of a file; in JSON it refuses it.
BOM = "\ufeff"
#: A text with templates is read again for each that stands in another.
_MAX_TEMPLATE, _MAX_DEPTH = 16 * 1024, 4
_MAX_BYTES = 1024 * 1024
#: Larger numbers would be as many digits; none of a backend's is.
_MAX_DIGITS = 400


@dataclass(frozen=True)
class Declared:
    """
    A backend block: its type and its plain values. `unread` are the attributes whose values are expressions.

    `config` may hold secrets.
    """

    type: str
    config: Mapping[str, Any] = field(repr=False)
    unread: frozenset[str] = frozenset()


class _NotPlain(ValueError):
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
        text = _text_of_file(Path(path))
        if path.endswith(".json"):
            return Declared("", parse(text, dict[str, Any]))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"backend_config: {printable(path, 60)} cannot be read.\nCheck the path.") from error
    return Declared("", *_body(list(hcl.tokens(text.removeprefix(BOM)))))


def _text_of_file(path: Path) -> str:
    """Every line end as it stands there: Terraform keeps those of a heredoc. A branch may name what never ends."""
    if path.exists() and not path.is_file():
        raise OSError("no regular file")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError("too large")
    return content.decode(errors="replace")  # What is no UTF-8 Terraform takes in a comment.


def read_assignment(text: str) -> Declared:
    """Read `KEY=VALUE` as `init -backend-config=KEY=VALUE` does: a text, or a map or list as a file would have it."""
    name, _, value = text.partition("=")
    if value.lstrip()[:1] in ("{", "["):
        return Declared("", *_body(list(hcl.tokens(f"{name} = {value}\n"))))
    return Declared("", {name.strip(): value})


def _in_json(text: str) -> Declared | None:
    for content in read_json(text) or ():
        for settings in blocks_of(content.get("terraform")):
            for backends in blocks_of(settings.get("backend")):
                for kind, blocks in backends.items():
                    return Declared(kind, next(iter(blocks_of(blocks)), {}))
            for block in blocks_of(settings.get("cloud")):
                return Declared("cloud", block)
    return None


def read_json(text: str) -> list[dict[str, Any]] | None:
    """Return what a file in JSON holds, an object or a list of them; None where it is broken, as Terraform will say."""
    try:
        content = parse(text, object)
    except msgspec.DecodeError:
        return None
    return blocks_of(content) if isinstance(content, (dict, list)) else None


def blocks_of(value: object) -> list[dict[str, Any]]:
    """In JSON a block is an object, or a list of them."""
    return [block for block in (value if isinstance(value, list) else [value]) if isinstance(block, dict)]


def _in_hcl(text: str) -> Declared | None:
    tokens = list(hcl.tokens(text.removeprefix(BOM)))
    depth, is_terraform = 0, False
    header: list[str] = []
    for index, (kind, word) in enumerate(tokens):
        if kind in ("word", "text"):
            header.append(word.strip('"'))
            continue
        if word == "{":
            if depth == 0:
                is_terraform = header == ["terraform"]
            elif depth == 1 and is_terraform and (type_ := _declared_type(header)):
                return Declared(type_, *_body(tokens[index + 1 :]))
            depth += 1
        elif word == "}":
            depth -= 1
        header = []
    return None


def _declared_type(header: list[str]) -> str:
    """Return the type of backend whose block begins so, `cloud` for a cloud block; empty where it is another."""
    if header == ["cloud"]:
        return "cloud"
    return header[1] if header[:1] == ["backend"] and len(header) == 2 else ""


def _body(tokens: list[hcl.Token]) -> tuple[dict[str, Any], frozenset[str]]:
    try:
        return _Reader(tokens).body()
    except RecursionError:
        return {}, frozenset()  # Nothing nested like that is a backend.


class _Reader:
    """Reads attributes and blocks up to the brace that ends them, or to the end."""

    def __init__(self, tokens: list[hcl.Token], depth: int = 0) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = depth

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
                    if name in config:  # Nobody knows which of the two is meant.
                        raise _NotPlain
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

    def alone(self) -> Any:
        """Return the one value that all of this is; its lines may end anywhere."""
        self._skip_lines()
        value = self._value()
        self._skip_lines()
        if self._word:
            raise _NotPlain
        return value

    def _value(self) -> Any:
        kind, word = self._take()
        if kind == "text":
            return self._filled(word[1:-1])
        if kind == "heredoc":
            return self._filled(hcl.heredoc(word), is_heredoc=True)
        if kind == "number":
            return _number(word)
        if kind == "word" and word in _WORDS:
            return _WORDS[word]
        if word == "[":
            return list(self._items("]", self._value))
        if word == "{":
            return dict(self._items("}", self._pair))
        if word == "(":
            return self._in_parentheses()
        if word == "-" and self._at < len(self._tokens) and self._tokens[self._at][0] == "number":
            return -_number(self._take()[1])
        raise _NotPlain

    def _in_parentheses(self) -> Any:
        self._skip_lines()
        value = self._value()
        self._skip_lines()
        if self._take()[1] != ")":
            raise _NotPlain
        return value

    def _filled(self, text: str, *, is_heredoc: bool = False) -> Any:
        """Return a text with its templates filled in. One that is nothing but a template is that template's value."""
        try:
            parts = list(hcl.template(text, is_heredoc=is_heredoc))
        except ValueError as error:
            raise _NotPlain from error
        templates = sum(is_template for is_template, _ in parts)
        if templates and (len(text) > _MAX_TEMPLATE or self._depth >= _MAX_DEPTH):
            raise _NotPlain
        unescaped = _undoubled if is_heredoc else _unescaped
        values = [self._inner(part) if is_template else unescaped(part) for is_template, part in parts]
        if templates == len(parts) == 1:
            return values[0]
        for index, (is_template, part) in enumerate(parts):
            # `~` takes the blanks away that are beside it.
            if is_template and part.startswith("~") and index > 0:
                values[index - 1] = text_of(values[index - 1]).rstrip()
            if is_template and part.endswith("~") and index + 1 < len(values):
                values[index + 1] = text_of(values[index + 1]).lstrip()
        return "".join(text_of(value) for value in values)

    def _inner(self, expression: str) -> Any:
        return _Reader(list(hcl.tokens(expression.strip("~"))), self._depth + 1).alone()

    def _items(self, end: str, item: Any) -> Iterator[Any]:
        self._skip_separators()
        while self._word != end:
            yield item()
            self._skip_separators()
        self._take()

    def _pair(self) -> tuple[str, Any]:
        kind, word = self._take()
        if kind == "text":
            word = text_of(self._filled(word[1:-1]))
        elif word == "(":
            word = text_of(self._in_parentheses())
        elif kind != "word":
            raise _NotPlain
        if self._take()[1] not in ("=", ":"):
            raise _NotPlain
        return word, self._value()

    def _skip_separators(self) -> None:
        while self._word in ("\n", ","):
            self._take()

    def _skip_lines(self) -> None:
        while self._word == "\n":
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


def text_of(value: object) -> str:
    """
    Return what Terraform makes of a value where a text is wanted.

    Raises:
        ValueError: It makes none: of nothing, of a list, of a map.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")
    if isinstance(value, (str, int)):
        return str(value)
    raise _NotPlain


def _number(word: str) -> int | float:
    """Read a number; `1e1` and `10.0` are 10."""
    exact = Decimal(word)
    if exact.is_zero():
        return 0
    if abs(exact.adjusted()) > _MAX_DIGITS:
        raise _NotPlain
    return int(exact) if exact == exact.to_integral_value() else float(word)


def _undoubled(text: str) -> str:
    return text.replace("$${", "${").replace("%%{", "%{")


def _unescaped(text: str) -> str:
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
