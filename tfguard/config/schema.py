"""
What tfguard.yml may contain, by the types of its `keys`: checked one by one, and the same as JSON Schema.

The walk goes through the types beside the plain data of a file, because a person wants to know the key, the line and
the likely word; `schema()` gives them to editors.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from tfguard import SCHEMA
from tfguard.config.document import KeyPath, clip
from tfguard.config.keys import FileKeys, PipelineKeys, type_of
from tfguard.config.variables import has_variables, malformed_reference
from tfguard.durations import parse_duration
from tfguard.terraform.commands import TAKING_ARGUMENTS

HIDDEN: Any = ...


class KeyFinding(NamedTuple):
    """One thing that is wrong. `path` begins where the walk began; `value` may be shown if it is not `HIDDEN`."""

    path: KeyPath
    what: str
    advice: str
    value: Any = HIDDEN


def file_findings(data: Any) -> Iterator[KeyFinding]:
    """Walk a whole file as written, but for `x-*`. Texts with variables are taken on trust until they are used."""
    if data is None:
        data = {}
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if not key.startswith("x-")}
    yield from _findings(data, type_of(FileKeys), (), is_raw=True)


def pipeline_findings(data: dict[str, Any]) -> Iterator[KeyFinding]:
    """Walk one pipeline after its variables were put in."""
    yield from _findings(data, type_of(PipelineKeys), (), is_raw=False)


def did_you_mean(word: str, known: list[str]) -> str:
    """Offer the nearest of the known words, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}." if known else ""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of tfguard.yml, made from the types of the keys."""
    made = msgspec.json.schema(FileKeys)
    definitions: dict[str, Any] = {name: _loosened(made["$defs"][name]) for name in sorted(made["$defs"])}
    definitions["PipelineKeys"]["properties"]["args"]["propertyNames"] = {"enum": list(TAKING_ARGUMENTS)}
    root = definitions.pop("FileKeys")
    root["patternProperties"] = {"^x-": {"description": "Yours: tfguard does not look at it."}}
    root["properties"]["version"] = {"const": 1, "description": "The version of this format."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        **root,
        "title": "tfguard.yml",
        "$defs": definitions,
    }


def _loosened(node: Any) -> Any:
    """Allow what the walk allows: empty maps, `0` as a duration, and variables wherever one of several words is due."""
    if isinstance(node, list):
        return [_loosened(item) for item in node]
    if not isinstance(node, dict):
        return node
    loose = {key: _loosened(value) for key, value in node.items()}
    about = {word: loose.pop(word) for word in ("description", "default") if word in loose}
    if isinstance(loose.get("type"), str) and loose["type"] == "object":
        return {**about, **loose, "type": ["object", "null"]}
    if "$ref" in loose:
        return {**about, "anyOf": [loose, {"type": "null"}]}
    variable = {"type": "string", "pattern": r"\$\{"}
    if "enum" in loose or loose.get("type") == "integer":
        return {**about, "anyOf": [loose, variable]}
    if "pattern" in loose:
        return {**about, "anyOf": [loose, {"const": 0}, variable]}
    return {**about, **loose}


def _findings(value: Any, kind: Any, path: KeyPath, *, is_raw: bool) -> Iterator[KeyFinding]:
    is_duration = False
    while isinstance(kind, msgspec.inspect.Metadata):
        is_duration, kind = is_duration or bool((kind.extra or {}).get("is_duration")), kind.type
    if isinstance(value, str) and "\0" in value:
        yield KeyFinding(path, "a NUL character", "Neither arguments nor the environment can carry one.")
    elif is_raw and isinstance(value, str) and (reference := malformed_reference(value)):
        yield KeyFinding(
            path, f"{clip(reference, 30)} is not a variable", "Write ${NAME} or ${NAME:-default}; $$ is a plain dollar."
        )
    elif is_raw and has_variables(value) and not isinstance(kind, _CONTAINERS):
        return
    elif is_duration:
        yield from _duration(value, path)
    else:
        yield from _WALKS[type(kind)](value, kind, path, is_raw)


def _struct(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    if value is None and path:
        return
    if not isinstance(value, dict):
        yield _wrong_type(value, "a map", path)
        return
    fields = {field.encode_name: field for field in kind.fields}
    for name, field in fields.items():
        if field.required and name not in value:
            yield KeyFinding((*path, name), f"{name}: 1 is missing", f"Begin the file with the line {name}: 1")
    for key, item in value.items():
        if key in fields:
            yield from _findings(item, fields[key].type, (*path, key), is_raw=is_raw)
        else:
            yield KeyFinding((*path, key), "unknown key", did_you_mean(key, sorted(fields)))


def _map(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield _wrong_type(value, "a map", path)
        return
    keys = kind.key_type.extra if isinstance(kind.key_type, msgspec.inspect.Metadata) else None
    for key, item in value.items():
        if keys and key not in keys["known"]:
            yield KeyFinding((*path, key), "not a command of Terraform", did_you_mean(key, sorted(keys["known"])))
        yield from _findings(item, kind.value_type, (*path, key), is_raw=is_raw)


def _list(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    if not isinstance(value, list):
        yield _wrong_type(value, "a list", path)
        return
    for number, item in enumerate(value):
        yield from _findings(item, kind.item_type, (*path, number), is_raw=is_raw)


def _text(value: Any, _of: Any, path: KeyPath, _is_raw: bool) -> Iterator[KeyFinding]:
    if not isinstance(value, str):
        yield _wrong_type(value, "text", path)


def _literal(value: Any, kind: Any, path: KeyPath, _is_raw: bool) -> Iterator[KeyFinding]:
    known = [word for word in kind.values if isinstance(word, type(value)) and not isinstance(value, bool)]
    if value not in known:
        *others, last = sorted(str(word) for word in kind.values)
        words = f"{', '.join(others)} or {last}" if others else last
        near = difflib.get_close_matches(value, kind.values, n=1) if isinstance(value, str) and known else []
        advice = f"Did you mean {near[0]}?" if near else f"Write {words}; this version of tfguard knows no other."
        yield KeyFinding(path, f"expected {words}", advice, value)


def _integer(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    number = int(value) if not is_raw and isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not kind.ge <= number <= kind.le:
        yield KeyFinding(path, f"expected a number from {kind.ge} to {kind.le}", "Write one of these numbers.", value)


def _union(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    for choice in kind.types:
        accepted = list if isinstance(choice, msgspec.inspect.ListType) else (dict, type(None))
        if isinstance(value, accepted):
            yield from _findings(value, choice, path, is_raw=is_raw)
            return
    yield _wrong_type(value, "a map, or a list of files", path)


def _anything(value: Any, kind: Any, path: KeyPath, is_raw: bool) -> Iterator[KeyFinding]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from _findings(item, kind, (*path, key), is_raw=is_raw)


def _duration(value: Any, path: KeyPath) -> Iterator[KeyFinding]:
    try:
        if value == 0 and type(value) is int:
            return
        parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        yield KeyFinding(path, "expected a duration", "Write it like 90s, 10m or 1h30m.", value)


def _wrong_type(value: Any, expected: str, path: KeyPath) -> KeyFinding:
    advice = {
        "text": "Put it in quotes if it is meant as text.",
        "a list": "Write it like [a, b], or one item per line after a dash.",
    }.get(expected, "Write keys and values below it, indented: key: value.")
    return KeyFinding(path, f"expected {expected}, got {_kind(value)}", advice)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a map"}
    return names.get(type(value), "something else")


_Walk = Callable[[Any, Any, KeyPath, bool], Iterator[KeyFinding]]
_CONTAINERS = (
    msgspec.inspect.StructType,
    msgspec.inspect.DictType,
    msgspec.inspect.ListType,
    msgspec.inspect.UnionType,
)
_WALKS: dict[type, _Walk] = {
    msgspec.inspect.StructType: _struct,
    msgspec.inspect.DictType: _map,
    msgspec.inspect.ListType: _list,
    msgspec.inspect.StrType: _text,
    msgspec.inspect.LiteralType: _literal,
    msgspec.inspect.IntType: _integer,
    msgspec.inspect.UnionType: _union,
    msgspec.inspect.AnyType: _anything,
}
