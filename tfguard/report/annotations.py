"""
Terraform's errors and warnings as annotations, at the file and line that they point to where that is in the checkout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from tfguard.ci.platform import NOWHERE, Diagnosed, Place, Platform
from tfguard.terraform.diagnostics import Diagnostic

#: Terraform's own folder: what lies in it is in nobody's repository.
_OWN = f"{os.sep}.terraform{os.sep}"


def annotation_lines(platform: Platform, found: Sequence[Diagnostic], directory: str, told: int) -> Iterator[str]:
    """
    Give the lines that annotate, no more than a step has room for after the `told` that it has made: the last counts
    the rest. `directory` is where Terraform has worked.
    """
    room = max(0, platform.max_annotations - told)
    shown = found if len(found) <= room else found[: max(0, room - 1)]
    for number, (level, text, place) in enumerate(placed(platform, shown, directory), told + 1):
        yield platform.annotation(level, text, number, place)
    if shown is not found and room:
        rest = found[len(shown) :]
        level = "error" if any(each.severity == "error" for each in rest) else "warning"
        text = f"{len(rest)} more of Terraform's errors and warnings: the log has them all."
        yield platform.annotation(level, text, told + room, NOWHERE)


def placed(platform: Platform, found: Iterable[Diagnostic], directory: str) -> Iterator[Diagnosed]:
    """Give each with its place in the checkout. `directory` is where Terraform has worked."""
    for each in found:
        yield Diagnosed(each.severity, each.detail or each.summary, _place(platform.checkout(), directory, each))


def _place(checkout: str, directory: str, of: Diagnostic) -> Place:
    """Where the platform finds it: a path from the repository's root, or none."""
    title = f"Terraform: {of.summary}"
    if not (of.file and checkout and directory):
        return Place(title)
    path = os.path.realpath(os.path.join(directory, of.file))
    root = _root(os.path.realpath(checkout), os.path.dirname(path))
    if not path.startswith(root.rstrip(os.sep) + os.sep) or _OWN in path or not os.path.isfile(path):
        return Place(title)
    return Place(title, os.path.relpath(path, root), of.line)


def _root(checkout: str, folder: str) -> str:
    """The repository's root: the nearest above that git knows, for a job may check out several; else the checkout."""
    while folder.startswith(checkout + os.sep):
        if os.path.lexists(os.path.join(folder, ".git")):
            return folder
        folder = os.path.dirname(folder)
    return checkout
