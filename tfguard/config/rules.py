"""
What the values of a pipeline must be beyond their types: each rule names the key, and says what to write instead.

`value_findings` looks at what one place says; `combination_findings` at a pipeline with its defaults merged in. A text
that still holds variables (`is_raw`) is left alone until they are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfguard.config.document import KeyPath, clip
from tfguard.config.keys import keys
from tfguard.config.schema import KeyFinding
from tfguard.config.values import Rule, seconds
from tfguard.config.variables import has_variables
from tfguard.lock.deadlines import LONGEST_LEASE_SECONDS
from tfguard.text import unobeyed

MAX_NAME_LENGTH = 120


def pipeline_name_finding(name: str) -> KeyFinding | None:
    """Refuse names that could leave the folder of their data, or be taken for an option."""
    parts = name.split("/")
    if not name.isprintable() or name != name.strip() or len(name) > MAX_NAME_LENGTH:
        what = f"a name is printable, has no spaces around it, and at most {MAX_NAME_LENGTH} characters"
    elif not name or name.startswith("-"):
        what = "a name is not empty and does not begin with a dash"
    elif name.startswith((":", "#")) or unobeyed(name) != name:
        # Lines begin with it, and a CI's log obeys `::…` and `##[…]`.
        what = "a name does not begin with : or #, nor is there ##[ in it"
    elif "" in parts or "." in parts or ".." in parts or "\\" in name:
        what = "a name has no empty part, no . or .. between slashes, and no backslash"
    else:
        return None
    return KeyFinding(
        ("pipelines", name), what, "Rename it: letters, digits, - _ . and single slashes are always fine."
    )


def value_findings(data: Mapping[str, Any], *, is_raw: bool, shortest_lease: float) -> Iterator[KeyFinding]:
    """Walk the values of one pipeline, or of `defaults`, whose types are right. Lease in seconds."""
    for path, key in keys().items():
        value = _at(data, path)
        if value is None:
            continue
        if key.rule and not (is_raw and _is_open(value)) and (broken := key.rule(value)):
            yield KeyFinding(path, *broken, value)
        if key.item_rule and isinstance(value, list):
            yield from _broken_inside(key.item_rule, enumerate(value), path, is_raw=is_raw)
        if key.name_rule:
            yield from _broken_inside(key.name_rule, ((name, name) for name in value), path, is_raw=False)
    lease = _at(data, ("lock", "lease"))
    if lease is None or (is_raw and _is_open(lease)):
        return
    if seconds(lease) < shortest_lease:
        why = "Shorter leases lose runs to a slow network."
        yield KeyFinding(("lock", "lease"), "expected 30s or more", why, lease)
    elif seconds(lease) > LONGEST_LEASE_SECONDS:
        why = "For as long as a lease nobody can take over the lock of a run that has died."
        yield KeyFinding(("lock", "lease"), "expected 1h or less", why, lease)


def _broken_inside(
    rule: Rule, items: Iterable[tuple[str | int, Any]], path: KeyPath, *, is_raw: bool
) -> Iterator[KeyFinding]:
    for at, item in items:
        if not (is_raw and _is_open(item)) and (broken := rule(item)):
            yield KeyFinding((*path, at), *broken)


def combination_findings(data: Mapping[str, Any], own: frozenset[KeyPath]) -> Iterator[KeyFinding]:
    """
    Look for keys that cannot stand together, in a pipeline with its defaults merged in.

    `own` are the keys that do not come from `defaults`: a store among the defaults serves the pipelines that are
    `named`, and is no mistake for the others.
    """
    lock = data.get("lock") or {}
    mode = lock.get("mode", "state")
    for key in ("name", "store"):
        if mode == "named" and not lock.get(key):
            yield KeyFinding(("lock", "mode"), f"named needs lock.{key}", f"Add lock.{key}, or remove mode: named.")
        if mode == "state" and key == "name" and ("lock", key) in own:
            yield KeyFinding(("lock", key), "is for mode: named only", f"Add mode: named, or remove lock.{key}.")
    env, variables = data.get("env") or {}, data.get("vars") or {}
    if "TF_WORKSPACE" in env and "workspace" in data:
        yield KeyFinding(
            ("env", "TF_WORKSPACE"), "the key workspace sets it too", "Keep workspace, and remove this one."
        )
    for name in variables:
        if f"TF_VAR_{name}" in env:
            yield KeyFinding(("env", f"TF_VAR_{name}"), f"vars.{clip(name, 30)} sets it too", "Keep one of the two.")


def _is_open(value: Any) -> bool:
    """Whether a value, or an item of it, still depends on variables."""
    return any(has_variables(item) for item in (value if isinstance(value, list) else [value]))


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data
