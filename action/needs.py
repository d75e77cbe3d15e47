"""
Which extras a job needs, by what its checkout says; nothing of it is run. Each is pinned in `extras/NAME.lock`.

Files are searched for signs, not understood: a backend in a comment counts as well. What is installed for nothing is
as pinned as the rest; and whoever needs what is written nowhere gives the action's input `extras`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

_BACKEND = r'\bbackend"?\s*[:=]?\s*[\[{]*\s*"%s"'
#: A backend, and in tfguard.yml a `store`. Of azurerm only a client certificate needs more than all have.
_SIGNS = {
    "azurerm": re.compile(r"\bclient_certificate(?:_path)?\b"),
    "gcs": re.compile(rf"{_BACKEND % 'gcs'}|\bstore\b.*\bgs://"),
    "pg": re.compile(rf"{_BACKEND % 'pg'}|\bstore\b.*\bpostgres(?:ql)?://"),
}
EXTRAS = tuple(_SIGNS)
#: Variables from which Terraform takes what no file says.
_VARIABLES = {"ARM_CLIENT_CERTIFICATE": "azurerm", "ARM_CLIENT_CERTIFICATE_PATH": "azurerm"}
#: Terraform's, OpenTofu's, Terragrunt's, what `-backend-config` reads; and tfguard.yml, or what is named after it.
_READ = re.compile(r".*\.(?:tf|tofu|tf\.json|tofu\.json|hcl|tfbackend)|.*tfguard.*\.ya?ml")
#: What others have put there; with hidden folders.
_PASSED_OVER = frozenset({"node_modules"})
#: Half a second's worth, or less.
_MAX_ENTRIES = 50_000
#: A backend's block is rarely far down.
_MAX_BYTES = 256 * 1024


def found(roots: Iterable[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Return the extras of which there is a sign below `roots` or in the environment. What cannot be read has none."""
    needed = {extra for name, extra in _VARIABLES.items() if environ.get(name)}
    for path in _files(roots):
        if len(needed) == len(EXTRAS):
            break
        text = _read(path)
        needed |= {extra for extra, sign in _SIGNS.items() if sign.search(text)}
    return frozenset(needed)


def _files(roots: Iterable[str]) -> Iterator[str]:
    """Give the files that may name a backend, those nearest to a root first; no link is followed."""
    folders = deque(dict.fromkeys(map(os.path.realpath, roots)))
    left = _MAX_ENTRIES
    while folders and left > 0:
        try:
            with os.scandir(folders.popleft()) as entries:
                for entry in entries:
                    left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _PASSED_OVER and not entry.name.startswith("."):
                            folders.append(entry.path)
                    elif _READ.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        yield entry.path
        except OSError:
            continue


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
