"""
`${VAR}`, `${VAR:-default}` and `$$` in the values of tfguard.yml.

A variable that is unset is an error; one that is set to nothing is taken as it is, except that `:-` gives the default
for it too, as in a shell. What a variable holds is not looked at again and is never shown to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\$\$|\$\{(?P<inside>[^{}]*)\}|\$\{")
_REFERENCE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)


class UnsetVariable(Exception):
    """The variable `name` is not set, and has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def has_variables(value: Any) -> bool:
    """Whether a value is a text that depends on the environment."""
    return isinstance(value, str) and any(match[0] != "$$" for match in _TOKEN.finditer(value))


def malformed_reference(text: str) -> str | None:
    """Return the first `${` of a text that tfguard cannot read, None if there is none."""
    for match in _TOKEN.finditer(text):
        if match[0] != "$$" and not _REFERENCE.fullmatch(match["inside"] or ""):
            return text[match.start() : match.start() + 30]
    return None


def expand(value: Any, environ: Mapping[str, str]) -> Any:
    """
    Return a value with its variables put in; keys of maps stay as they are. The text must be well-formed.

    Raises:
        UnsetVariable: One of them is not set.
    """
    if isinstance(value, str):
        return _TOKEN.sub(lambda match: _substitute(match, environ), value)
    if isinstance(value, list):
        return [expand(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: expand(item, environ) for key, item in value.items()}
    return value


def _substitute(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    reference = _REFERENCE.fullmatch(match["inside"] or "")
    assert reference, "checked when the file was read"
    if reference["default"] is not None:
        return environ.get(reference["name"]) or reference["default"][2:]
    if reference["name"] not in environ:
        raise UnsetVariable(reference["name"])
    return environ[reference["name"]]
