"""
tfguard.yml: where it is, what it says, and what of it holds for one pipeline.

The whole file is checked when it is loaded; variables are put in only where a pipeline is used (`settings`), so that a
laptop needs none of the production's secrets to plan for development. Every value remembers where it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tfguard.config.document import Document, KeyPath, Problem, clip, dotted, read_document, shown_path
from tfguard.config.keys import top_level
from tfguard.config.rules import combination_findings, pipeline_name_finding, value_findings
from tfguard.config.schema import HIDDEN, KeyFinding, did_you_mean, file_findings
from tfguard.config.variables import has_variables
from tfguard.errors import NAMED, ConfigError
from tfguard.lock.deadlines import shortest_lease_seconds
from tfguard.text import valid

FILE_NAME = "tfguard.yml"
#: Advice where there is none.
HOW_TO_HAVE_ONE = "Write one with `tfguard config init`, or name it with --config FILE."

#: Nobody mends more at once.
_MAX_FINDINGS = 100
#: What `defaults` says holds for each pipeline: so many values may come of that.
_MAX_VALUES = 200_000

#: A value below these is one value, however it looks inside: it is replaced, never merged.
_OPAQUE = top_level("is_one_value")
#: What is written here may be a secret; no message shows it.
UNSHOWN = top_level("is_secret")


class Leaf(NamedTuple):
    """One value with its `origin` in words; `at` is its path in the file, None where it comes from elsewhere."""

    value: Any
    origin: str
    at: KeyPath | None = None


Leaves = dict[KeyPath, Leaf]


@dataclass(frozen=True)
class Config:
    """A tfguard.yml that was found to be right, its variables not yet put in."""

    document: Document = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self.document.path

    @property
    def root(self) -> Path:
        """The directory that relative paths of the file begin at."""
        return self.document.path.parent

    @property
    def names(self) -> list[str]:
        """The pipelines, in the file's order."""
        return list(self.data.get("pipelines") or {})

    def require(self, name: str) -> None:
        """Raise ConfigError, naming the pipelines there are, if this one is not among them."""
        if name in self.names:
            return
        known = self.names or ["none"]
        nearest = did_you_mean(name, self.names)
        listed = clip("Pipelines there: " + ", ".join(known), 118) + "."
        lines = [f"{self.document.shown} has no pipeline {clip(name, 40)}.", listed]
        raise ConfigError("\n".join([*lines, nearest] if nearest.startswith("Did") else lines))

    def defaults(self) -> Leaves:
        """Return what `defaults` says, value by value."""
        return dict(self._defaults)

    @cached_property
    def _defaults(self) -> Leaves:
        return dict(self._leaves(self.data.get("defaults") or {}, ("defaults",)))

    def merged(self, name: str) -> Leaves:
        """Return what holds for one pipeline with its `defaults`: maps are merged, lists and single values replaced."""
        leaves = self.defaults()
        overlay(leaves, self._leaves(self.data["pipelines"][name] or {}, ("pipelines", name)))
        return leaves

    def _leaves(self, data: dict[str, Any], at: KeyPath) -> Iterator[tuple[KeyPath, Leaf]]:
        for path, value in _flattened(data, ()):
            place = (*at, *path)
            yield path, Leaf(value, f"{self.document.where(place)} {dotted(place)}", place)


def find_config(start: Path, explicit: str | None, environ: Mapping[str, str]) -> Path | None:
    """
    Return the tfguard.yml to use: the one that was named, else the nearest upward from `start`, else None.

    The search ends at the root of the checkout, and before what belongs to anybody but us and the owner of `start`:
    what lies above is a stranger's, who would say what is run, and with which state.

    Raises:
        ConfigError: The one that was named (`--config`, TFGUARD_CONFIG) is not there, or the nearest one has an
            ending that is not read.
    """
    named = explicit if explicit is not None else environ.get("TFGUARD_CONFIG")
    if explicit is not None or named:
        source = "--config" if explicit is not None else "TFGUARD_CONFIG"
        return _named(start, named or "", source)
    for directory in _upward(start.absolute()):
        if os.path.isfile(directory / FILE_NAME):
            return directory / FILE_NAME
        if os.path.isfile(directory / "tfguard.yaml"):
            shown = shown_path(directory / "tfguard.yaml")
            raise ConfigError(f"{shown} is not read under this name.", f"Rename it to {FILE_NAME}.", about=NAMED)
    return None


def _upward(start: Path) -> Iterator[Path]:
    """Return the folders in which a tfguard.yml may be ours."""
    trusted = {os.geteuid(), _owner(start)}
    for directory in (start, *start.parents):
        files = [directory / name for name in (FILE_NAME, "tfguard.yaml") if os.path.isfile(directory / name)]
        if not {_owner(path) for path in (directory, *files)} <= trusted:
            return
        yield directory
        if os.path.lexists(directory / ".git"):
            return


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except (OSError, ValueError):  # a name with a NUL
        return -1


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """
    Read and check a tfguard.yml, whole.

    Raises:
        ConfigError: The first problem with file, line, key and what to do, and how many more there are.
    """
    config, found = inspect(path, os.environ if environ is None else environ)
    if found:
        more = len(found) - 1
        raise ConfigError(str(found[0]), *([f"{more} more in this file."] if more else []), about=NAMED)
    return config


def inspect(path: Path, environ: Mapping[str, str]) -> tuple[Config, list[Problem]]:
    """Read a tfguard.yml and give what is wrong with it, in the order of its lines: all of it, or a hundred things."""
    document = read_document(path.absolute())
    plain = document.root.plain()
    config = Config(document, plain if isinstance(plain, dict) else {})
    findings = list(islice(file_findings(plain), _MAX_FINDINGS))
    findings = findings or list(islice(_rule_findings(config, environ), _MAX_FINDINGS))
    findings.sort(key=lambda finding: document.line(finding.path))
    unique = dict.fromkeys(_problem(document, finding) for finding in findings)
    return config, list(unique)


def overlay(leaves: Leaves, above: Iterable[tuple[KeyPath, Leaf]]) -> None:
    """Lay values over others. A list or null takes the place of a whole map, and the other way round."""
    inner = {path[:length] for path in leaves for length in range(1, len(path))}
    for path, leaf in list(above):
        around = [path[:length] for length in range(1, len(path))]
        for other in around:
            leaves.pop(other, None)
        if path in inner:
            for other in [other for other in leaves if other != path and other[: len(path)] == path]:
                del leaves[other]
            inner.discard(path)
        inner.update(around)
        leaves[path] = leaf


def nested(leaves: Leaves) -> dict[str, Any]:
    """Return the plain data that the leaves stand for."""
    data: dict[str, Any] = {}
    for path, leaf in leaves.items():
        inside = data
        for step in path[:-1]:
            inside = inside.setdefault(str(step), {})
        inside[str(path[-1])] = leaf.value
    return data


def shown_value(finding: KeyFinding, path: KeyPath) -> str:
    """Return what was found, for a message: `, got '5'`; nothing if it may be a secret, or is nothing to show."""
    value = finding.value
    if value is HIDDEN or value == "" or isinstance(value, (dict, list)) or (path and path[0] in UNSHOWN):
        return ""
    return f", got {clip(repr(valid(value)) if isinstance(value, str) else str(value).lower(), 40)}"


def _named(start: Path, named: str, source: str) -> Path:
    if not named:
        raise ConfigError(f"{source} names no file.\nGive the path of a tfguard.yml, or leave it out.")
    path = start.absolute() / os.path.expanduser(named)
    if not path.exists():
        raise ConfigError(f"{source} names {clip(named, 60)}, which does not exist.\nGive the path of a tfguard.yml.")
    return path


def _flattened(data: dict[str, Any], above: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in data.items():
        path = (*above, key)
        if isinstance(value, dict) and not (len(path) > 1 and path[0] in _OPAQUE):
            yield from _flattened(value, path)
        elif value is not None or len(path) > 1:
            yield path, value


def _rule_findings(config: Config, environ: Mapping[str, str]) -> Iterator[KeyFinding]:
    shortest = shortest_lease_seconds(environ)
    blocks: dict[KeyPath, Any] = {("defaults",): config.data.get("defaults") or {}}
    blocks |= {("pipelines", name): block or {} for name, block in (config.data.get("pipelines") or {}).items()}
    for at, block in blocks.items():
        for finding in value_findings(block, is_raw=True, shortest_lease=shortest):
            yield finding._replace(path=(*at, *finding.path))
    if len(config.defaults()) * len(config.names) > _MAX_VALUES:
        what = f"more than {_MAX_VALUES} values, since they hold for each pipeline"
        yield KeyFinding(("defaults",), what, "Write fewer of them, or fewer pipelines.")
        return
    for name in config.names:
        if finding_of_name := pipeline_name_finding(name):
            yield finding_of_name
        leaves = config.merged(name)
        own = frozenset(path for path, leaf in leaves.items() if leaf.at and leaf.at[0] == "pipelines")
        if has_variables(nested(leaves).get("lock", {}).get("mode")):
            continue
        for finding in combination_findings(nested(leaves), own):
            written = leaves[finding.path].at if finding.path in leaves else None
            yield finding._replace(path=written or ("pipelines", name, *finding.path))
    yield from _look_alikes(config.names)


def _look_alikes(names: list[str]) -> Iterator[KeyFinding]:
    """Names that differ only by case would share a folder on macOS."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first != name:
            what = f"differs from {clip(first, 40)} only by case"
            yield KeyFinding(("pipelines", name), what, "Rename one of the two.")


def _problem(document: Document, finding: KeyFinding) -> Problem:
    inside = finding.path[2:] if finding.path[:1] == ("pipelines",) else finding.path[1:]
    missing_version = finding.path == ("version",) and finding.value is HIDDEN
    key = "" if missing_version else dotted(finding.path)
    return Problem(document.where(finding.path), key, finding.what + shown_value(finding, inside), finding.advice)
