"""
A data directory for one run: its own cache of the backend, and links to everything else in the real one.

So a Terraform reads from us which backend it works on, whoever initialises the directory meanwhile; and where its
backend needs an attribute that only this run knows, it finds that one there. The cache's `hash` is that of the
configuration and stays: Terraform does not ask for another `init`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tfguard.files import write
from tfguard.terraform.workdir import WorkingDirectory
from tfguard.wire import publish

#: What Terraform keeps there beside the cache. The workspace that is selected counts for `workspace delete` alone: for
#: any other command it is pinned.
_LINKED = ("environment", "modules", "providers", "plugins", "plugin_path")
#: The link in the real data directory that leads to a run's own; and in there, the one that leads back to it.
_LINK = "tfguard-"
BACK = ".tfguard-link"


def make(workdir: WorkingDirectory, folder: str, attributes: Mapping[str, str | bool] | None = None) -> str:
    """
    Make a data directory in `folder`, which only we can enter, of a directory as it was read; return its path.

    These attributes of the backend go before its own. Raises OSError.
    """
    place = tempfile.mkdtemp(prefix="data-", dir=folder)
    write_cache(workdir, place, attributes or {})
    for name in _LINKED:
        real = workdir.data_dir / name
        if real.exists():
            Path(place, name).symlink_to(real)
    return place


def write_cache(workdir: WorkingDirectory, place: str, attributes: Mapping[str, str | bool]) -> None:
    """Write the backend's cache into `place`, these attributes in place of its own. Raises OSError."""
    text = workdir.cache_text
    if text is None:
        return
    content = text.encode()
    if attributes:
        cache = msgspec.json.decode(text)
        cache["backend"]["config"].update(attributes)
        content = publish(cache)
    write(Path(place, workdir.cache_path.name), content)


def link(workdir: WorkingDirectory, place: str, name: str) -> str:
    """
    Lead to `place` from the real data directory, under a name made of `name`; return what TF_DATA_DIR is for that.

    It is relative where it can be: a Terraform that a provisioner starts in another directory inherits it, and must not
    find this backend there. Raises OSError.
    """
    path = workdir.data_dir / f"{_LINK}{name}"
    with contextlib.suppress(FileExistsError):
        path.symlink_to(place)
        # So whoever removes our folder, be it our keeper alone, finds the link to it.
        Path(place, BACK).symlink_to(path.absolute())
    return os.path.relpath(path, workdir.directory)


def unlink(workdir: WorkingDirectory, name: str) -> None:
    """Take the link away again. Not to be had is as good."""
    if "/" in name:
        return  # It may be a stranger's.
    with contextlib.suppress(OSError):
        (workdir.data_dir / f"{_LINK}{name}").unlink()
