"""The directories and files that a tfguard.yml names: whether they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tfguard.config.document import KeyPath, Problem, dotted
from tfguard.config.file import Config, Leaf
from tfguard.config.variables import UnsetVariable, expand, has_variables
from tfguard.files import absolute


class Missing(NamedTuple):
    """What is named and not there. Not `is_certain` where a variable stands in its name: a job may make it later."""

    problem: Problem
    is_certain: bool


def missing_files(config: Config, environ: Mapping[str, str]) -> list[Missing]:
    """Look for each pipeline's `dir`, `var_files` and backend files; what variables leave open is not looked for."""
    found: dict[Missing, None] = {}
    for name in config.names:
        leaves = config.merged(name)
        for key in ("dir", "var_files", "backend_config"):
            for written, place in _texts(leaves.get((key,))):
                try:
                    path = absolute(config.root / os.path.expanduser(expand(written, environ)))
                except UnsetVariable:
                    continue
                what = _missing(path, "directory" if key == "dir" else "file")
                if what:
                    advice = f"Looked for {written}; paths begin at tfguard.yml's folder."
                    problem = Problem(config.document.where(place), dotted(place), what, advice)
                    found[Missing(problem, is_certain=not has_variables(written))] = None
    return list(found)


def _missing(path: Path, kind: str) -> str:
    """Return what is wrong with a place that is to be a directory or a file; nothing if it is one."""
    try:
        is_there = path.is_dir() if kind == "directory" else path.is_file()
    except OSError as error:
        return f"this {kind} cannot be looked for: {(error.strerror or 'error').lower()}"
    return "" if is_there else f"no such {kind}"


def _texts(leaf: Leaf | None) -> Iterator[tuple[str, KeyPath]]:
    """Give the names that stand in the file, each with its place; one text, or a list of them."""
    if leaf is None or leaf.at is None:
        return
    if isinstance(leaf.value, str):
        yield leaf.value, leaf.at
    elif isinstance(leaf.value, list):
        yield from ((text, (*leaf.at, index)) for index, text in enumerate(leaf.value) if isinstance(text, str))
