"""
Which directories below one are run as a Terraform of their own, and what lies beside them by custom.

A directory counts that declares a backend: a module has none. Of the files beside it, only the names are looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from tfguard.terraform.workdir import WorkingDirectory, is_workspace_name

#: A checkout may hold very many folders, and a hostile one as many as it likes.
_MAX_FOLDERS = 20_000
#: Nobody's own, or hidden (which `.terraform` and its likes are anyway).
_PASSED_OVER = frozenset({"node_modules", "venv", "__pycache__"})
#: Terraform reads these by itself.
_AUTOMATIC = re.compile(r"(?:^terraform|\.auto)\.tfvars(?:\.json)?$")
_VARIABLES = re.compile(r"\.tfvars(?:\.json)?$")
#: As Terraform's manual has it (`dev.s3.tfbackend`), and as many do: `backend-dev.hcl`, `dev.backend.tfvars`.
_BACKEND = re.compile(r"(?:^|[-_.])backend\b.*\.(?:hcl|conf|tfvars)$|\.tfbackend$")
#: What of a name does not say of which environment it is; taken away one after another.
_KINDS = (r"(?:\.[a-z0-9]+)?\.tfbackend$|\.(?:hcl|conf|tfvars|tfvars\.json)$", r"[-_.]backend$", r"^backend(?:[-_.]|$)")


class Stack(msgspec.Struct, frozen=True):
    """
    A directory with a backend, of type `backend`. All paths are relative to where the search began.

    var_files, backend_files: By the environment that their names speak of, which may be none.
    workspaces: Of the local backend, whose are folders.
    """

    directory: Path
    backend: str
    var_files: dict[str, Path]
    backend_files: dict[str, Path]
    workspaces: tuple[str, ...]


def stacks(root: Path) -> Iterator[Stack]:
    """Return them, sorted by their paths. What cannot be read is passed over."""
    for folder in islice(_folders(root), _MAX_FOLDERS):
        declared = WorkingDirectory.at(folder, None, {}, reads_tofu=lambda: True).declared
        if declared:
            yield _stack(root, folder, declared[0])


def _folders(root: Path) -> Iterator[Path]:
    """Walk without following links, and only where names are text."""
    for path, names, _ in os.walk(root):
        names[:] = sorted(
            name for name in names if name.isprintable() and not name.startswith(".") and name not in _PASSED_OVER
        )
        yield Path(path)


def _stack(root: Path, folder: Path, backend: str) -> Stack:
    variables: dict[str, Path] = {}
    backends: dict[str, Path] = {}
    for path in _files_beside(folder):
        shown = path.relative_to(root)
        if _BACKEND.search(path.name):
            backends.setdefault(_environment(path, folder), shown)
        elif _VARIABLES.search(path.name) and not _AUTOMATIC.search(path.name):
            variables.setdefault(_environment(path, folder), shown)
    workspaces = sorted(_names(folder / "terraform.tfstate.d")) if backend == "local" else []
    return Stack(
        directory=folder.relative_to(root),
        backend=backend,
        var_files=variables,
        backend_files=backends,
        workspaces=tuple(name for name in workspaces if is_workspace_name(name)),
    )


def _files_beside(folder: Path) -> Iterator[Path]:
    """Return the files of a folder, then those of the folders in it: `env/dev.tfvars`."""
    inside = [folder / name for name in sorted(_names(folder))]
    for path in inside:
        if path.is_file():
            yield path
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            yield from (path / name for name in sorted(_names(path)) if (path / name).is_file())


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.isprintable() and not name.startswith(".")]
    except OSError:
        return []


def _environment(path: Path, folder: Path) -> str:
    """Say of which environment a file is; empty where neither its name says so nor the folder that it lies in."""
    name = path.name
    for kind in _KINDS:
        name = re.sub(kind, "", name)
    return name or ("" if path.parent == folder else path.parent.name)
