"""
YAML as tfguard reads it: plain values, every one with the line it stands on.

Scalars mean what YAML 1.2 says (`yes` and `22:30` are text, `010` is ten), because Terraform's readers and editors with
a schema say so too. Not taken: several documents, tags, keys that are no scalars, the same key twice, and files whose
aliases multiply into more than they say. Positions come from the parser's events; a tree is never built by libyaml,
whose own composer overruns the stack on deep nesting.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import msgspec

from tfguard.errors import NAMED, ConfigError
from tfguard.text import unobeyed

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 40
MAX_COLUMNS = 120

KeyPath = tuple[Union[str, int], ...]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES = frozenset({"true", "True", "TRUE"})
_FALSES = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Problem(msgspec.Struct, frozen=True):
    """
    What is wrong with one value. `str()` is two lines for a person, of 120 columns at most.

    `where` is `tfguard.yml:12`, an environment variable or a flag; `key` is the dotted path of the value, or empty.
    """

    where: str
    key: str
    what: str
    advice: str

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.key, self.what) if part)
        return "\n".join(clip(line, MAX_COLUMNS) for line in (head, self.advice) if line)


class Node(NamedTuple):
    """A value and its line, counted from 1; for a map's entry, the line of its key."""

    line: int
    value: Any

    def plain(self) -> Any:
        """Return the value without its positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Document(msgspec.Struct, frozen=True):
    """One file as read. `shown` is its path as messages print it."""

    path: Path
    shown: str
    root: Node

    def line(self, path: KeyPath) -> int:
        """Return the line of a value, or of the nearest thing around it that exists."""
        node = self.root
        for step in path:
            try:
                node = node.value[step]
            except (LookupError, TypeError):
                break
        return node.line

    def where(self, path: KeyPath) -> str:
        """Return where a value stands: `tfguard.yml:12`."""
        return f"{self.shown}:{self.line(path)}"


def clip(text: str, columns: int) -> str:
    """Make text fit for one line of a message: no control characters, no more than `columns`."""
    shown = text[: columns + 1]
    if not shown.isprintable():
        shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in shown)
    shown = unobeyed(shown)
    return shown if len(shown) <= columns else shown[: columns - 1] + "…"


def dotted(path: KeyPath) -> str:
    """Write a key path as people do: `pipelines.prod/network.steps[1]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{clip(step, 40)}" for step in path).lstrip(".")


def shown_path(path: Path) -> str:
    """Return a path for messages: relative where that is short, and never more than half a line."""
    import os.path

    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the working directory is gone
        relative = str(path)
    shown = relative if relative.count("../") <= 3 else str(path)
    return shown if len(shown) <= 60 else "…" + shown[-59:]


def read_document(path: Path) -> Document:
    """
    Read one YAML file.

    Raises:
        ConfigError: It cannot be read, or is no YAML that tfguard takes; file and line are named.
    """
    shown = shown_path(path)
    return Document(path, shown, _Builder(shown, _read_text(path, shown)).document())


def _read_text(path: Path, shown: str) -> str:
    try:
        # Looked at before it is opened: opening a pipe waits for whoever writes into it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unreadable(shown, "is not a regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(shown, f"cannot be read ({error.strerror})") from error
    if len(raw) > MAX_BYTES:
        raise _unreadable(shown, "is larger than 1 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem(f"{shown}:{line}", "", "this is not UTF-8", "Save the file as UTF-8.")
        raise ConfigError(str(problem), about=NAMED) from error


def _unreadable(shown: str, what: str) -> ConfigError:
    advice = "Give the path of a tfguard.yml with --config or TFGUARD_CONFIG."
    return ConfigError(f"{shown} {what}.", advice, about=NAMED)


def _resolve(text: str) -> Any:
    """Return what a plain scalar means in YAML 1.2."""
    if text in _NULLS:
        return None
    if text in _TRUES:
        return True
    if text in _FALSES:
        return False
    if _INTEGER.fullmatch(text):
        # Python refuses to convert thousands of digits, and nobody means a number by them.
        return _integer(text) if len(text) < 400 else text
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _height(node: Node) -> int:
    inside = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    return 1 + max((_height(child) for child in inside), default=0)


class _Builder:
    """Turns the parser's events into nodes; gives up with line and advice."""

    def __init__(self, shown: str, text: str) -> None:
        self._shown = shown
        self._text = text
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._size = 0

    def document(self) -> Node:
        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._events: Iterator[Any] = iter(yaml.parse(self._text, Loader=loader))
            return self._documents()
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except yaml.YAMLError as error:  # the reader's: a character that YAML does not allow
            position = getattr(error, "position", 0)
            line = self._text.count("\n", 0, position if isinstance(position, int) else 0) + 1
            raise self._wrong(
                line, "a control character", "YAML allows none; remove it, or write an escape."
            ) from error

    def _documents(self) -> Node:
        import yaml

        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._wrong(_line(event), "a second document begins", "tfguard reads one document per file.")
                root = self._node(next(self._events), 0)
        return root or Node(1, None)

    def _node(self, event: Any, depth: int, line: int | None = None) -> Node:
        import yaml

        line = line or _line(event)
        self._limit(depth, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, depth)
        before = self._size
        self._grow(1, line)
        if event.tag and event.tag not in {"!", "tag:yaml.org,2002:str"}:
            raise self._wrong(line, f"the tag {clip(event.tag, 40)}", "There are no tags here; write the value itself.")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, _resolve(event.value) if event.implicit[0] and not event.tag else event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(line, self._items(depth))
        else:
            node = Node(line, self._entries(depth))
        if event.anchor:
            self._anchors[event.anchor] = (node, self._size - before, _height(node))
        return node

    def _limit(self, depth: int, line: int) -> None:
        if depth > MAX_DEPTH:
            raise self._wrong(line, f"nested more than {MAX_DEPTH} deep", "Nothing in tfguard.yml has to be that deep.")

    def _alias(self, event: Any, line: int, depth: int) -> Node:
        if event.anchor not in self._anchors:
            anchor = clip(event.anchor, 40)
            raise self._wrong(line, f"*{anchor} refers to no anchor above it", f"Write &{anchor} before its value.")
        node, size, height = self._anchors[event.anchor]
        self._limit(depth + height - 1, line)
        self._grow(size, line)
        return Node(line, node.value)

    def _items(self, depth: int) -> list[Node]:
        import yaml

        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _entries(self, depth: int) -> dict[str, Node]:
        import yaml

        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._wrong(
                    line, "a key that is not plain text", "A text that begins with { [ & or * needs quotes."
                )
            value = self._node(next(self._events), depth + 1, line)
            if event.value == "<<" and event.implicit[0]:
                for key, node in self._merge(value).items():
                    merged.setdefault(key, node)
            elif event.value in entries:
                first = entries[event.value].line
                raise self._wrong(
                    line, f"the key {clip(event.value, 40)} is here a second time", f"The first is on line {first}."
                )
            else:
                entries[event.value] = value
        return {**merged, **entries}

    def _merge(self, value: Node) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        for source in reversed(value.value) if isinstance(value.value, list) else [value]:
            if not isinstance(source.value, dict):
                raise self._wrong(value.line, "<< takes a map, or a list of maps", "Write it like <<: *anchor.")
            merged.update(source.value)
        return merged

    def _grow(self, nodes: int, line: int) -> None:
        self._size += nodes
        if self._size > MAX_NODES:
            raise self._wrong(line, f"more than {MAX_NODES} values once aliases are followed", "Write fewer of them.")

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = clip(error.problem or "not valid YAML", 70)
        if _is_indented_by_tab(self._text, line):
            return self._wrong(line, "a tab where YAML wants spaces", "Indent with spaces.")
        column = f", column {mark.column + 1}" if mark else ""
        return self._wrong(line, f"not valid YAML ({problem}{column})", "Look at this line and the one above it.")

    def _wrong(self, line: int, what: str, advice: str) -> ConfigError:
        return ConfigError(str(Problem(f"{self._shown}:{line}", "", what, advice)), about=NAMED)


def _is_indented_by_tab(text: str, line: int) -> bool:
    written = text.split("\n")[line - 1 : line]
    return any("\t" in one[: len(one) - len(one.lstrip())] for one in written)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
