"""
What the values of a pipeline must be beyond their types: each rule names the key, and says what to write instead.

`value_findings` looks at what one place says; `combination_findings` at a pipeline with its defaults merged in. A text
that still holds variables (`is_raw`) is left alone until they are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfguard.config.document import KeyPath, clip
from tfguard.config.schema import KeyFinding
from tfguard.config.variables import has_variables
from tfguard.durations import parse_duration

SHORTEST_LEASE_SECONDS = 30.0
MAX_NAME_LENGTH = 120

#: What decides which programs run, and with which settings, is the operator's: it comes from the real environment.
FORBIDDEN_ENV = re.compile(
    r"PATH|HOME|(LD_|DYLD_|PYTHON|GIT_|TFGUARD_).*|TF_CLI_CONFIG_FILE|TERRAFORM_CONFIG"
    # Their profiles may name a program that gives the credentials.
    r"|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE",
    re.IGNORECASE,
)

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER = re.compile(r"[^\W\d][\w-]*")
#: Terraform takes a workspace name that stands in a URL unescaped.
_WORKSPACE = re.compile(r"[A-Za-z0-9_.~$&+:=@-]+")
_STEPS = ("init", "plan", "apply")


def pipeline_name_finding(name: str) -> KeyFinding | None:
    """Refuse names that could leave the folder of their data, or be taken for an option."""
    parts = name.split("/")
    if not name.isprintable() or name != name.strip() or len(name) > MAX_NAME_LENGTH:
        what = f"names are printable, without spaces around them, of {MAX_NAME_LENGTH} characters at most"
    elif not name or name.startswith("-"):
        what = "a name is not empty and does not begin with a dash"
    elif "" in parts or "." in parts or ".." in parts or "\\" in name:
        what = "a name has no empty part, no . or .. between slashes, and no backslash"
    else:
        return None
    return KeyFinding(
        ("pipelines", name), what, "Rename it: letters, digits, - _ . and single slashes are always good."
    )


def value_findings(data: Mapping[str, Any], *, is_raw: bool, shortest_lease: float) -> Iterator[KeyFinding]:
    """Walk the values of one pipeline, or of `defaults`, whose types are right. Lease in seconds."""
    for name in data.get("env") or {}:
        yield from _env_name(name)
    for name in data.get("vars") or {}:
        if not _IDENTIFIER.fullmatch(name):
            yield KeyFinding(("vars", name), "no name of a Terraform variable", "Write letters, digits, _ and -.")
    for path, rule in _RULES.items():
        value = _at(data, path)
        if value is not None and not (is_raw and _is_open(value)) and (broken := rule(value)):
            yield KeyFinding(path, *broken, value)
    for path in (("var_files",), ("backend_config",), ("paths",)):
        yield from _empty_items(_at(data, path), path)
    for number, pattern in enumerate(_at(data, ("retry", "init", "patterns")) or ()):
        if not (is_raw and _is_open(pattern)):
            yield from _pattern(pattern, ("retry", "init", "patterns", number))
    lease = _at(data, ("lock", "lease"))
    if lease is not None and not (is_raw and _is_open(lease)) and _seconds(lease) < shortest_lease:
        yield KeyFinding(
            ("lock", "lease"), "expected 30s or more", "Shorter leases lose runs to a slow network.", lease
        )


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
        if mode == "state" and ("lock", key) in own:
            yield KeyFinding(("lock", key), "is for mode: named only", f"Add mode: named, or remove lock.{key}.")
    env, variables = data.get("env") or {}, data.get("vars") or {}
    if "TF_WORKSPACE" in env and "workspace" in data:
        yield KeyFinding(
            ("env", "TF_WORKSPACE"), "the key workspace says it too", "Keep workspace, and remove this one."
        )
    for name in variables:
        if f"TF_VAR_{name}" in env:
            yield KeyFinding(("env", f"TF_VAR_{name}"), f"vars.{clip(name, 30)} says it too", "Keep one of the two.")


def _env_name(name: str) -> Iterator[KeyFinding]:
    if not _ENV_NAME.fullmatch(name):
        yield KeyFinding(("env", name), "no name of an environment variable", "Write letters, digits and _.")
    elif FORBIDDEN_ENV.fullmatch(name):
        yield KeyFinding(
            ("env", name),
            "may not be set here",
            "It steers more than Terraform: set it where tfguard is started.",
        )


def _empty_items(value: Any, path: KeyPath) -> Iterator[KeyFinding]:
    for number, item in enumerate(value if isinstance(value, list) else ()):
        if item == "":
            yield KeyFinding((*path, number), "an empty path", "Write a path, or remove the item.")


def _pattern(pattern: str, path: KeyPath) -> Iterator[KeyFinding]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield KeyFinding(path, f"no regular expression ({clip(error.msg, 40)})", "Write it in Python's syntax.")


def _not_empty(value: Any) -> tuple[str, str] | None:
    return ("is empty", "Write a value, or remove the key.") if value == "" else None


def _workspace(value: Any) -> tuple[str, str] | None:
    if _WORKSPACE.fullmatch(value):
        return None
    return "no name that Terraform takes for a workspace", "Write letters, digits, - _ and dots."


def _steps(value: Any) -> tuple[str, str] | None:
    known = [step for step in value if step in _STEPS]
    if known and known == sorted(set(known), key=_STEPS.index):
        return None
    return "steps are some of init, plan, apply, each once, in this order", "Write it like [init, plan, apply]."


def _not_negative(value: Any) -> tuple[str, str] | None:
    return ("expected 0 or more", "0 means one try.") if _seconds(value) < 0 else None


def _positive(value: Any) -> tuple[str, str] | None:
    return ("expected more than 0", "Remove the key for no limit.") if _seconds(value) <= 0 else None


def _is_open(value: Any) -> bool:
    """Tell whether variables still have a say in a value."""
    return any(has_variables(item) for item in (value if isinstance(value, list) else [value]))


def _seconds(value: Any) -> float:
    return parse_duration(str(value))


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


_Rule = Callable[[Any], "tuple[str, str] | None"]
_RULES: dict[KeyPath, _Rule] = {
    ("dir",): _not_empty,
    ("workspace",): _workspace,
    ("steps",): _steps,
    ("run_timeout",): _positive,
    ("lock", "timeout"): _not_negative,
    ("lock", "name"): _not_empty,
    ("lock", "store"): _not_empty,
}
