"""Folders and files that nobody but their owner reads or changes, whatever the umask."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def make_folder(place: Path) -> None:
    """
    Make a folder of mode 0700, and those above it that are missing.

    All of them: who may rename what is in one of these folders chooses what we find there. Raises OSError.
    """
    if place.is_dir():
        return
    make_folder(place.parent)
    with contextlib.suppress(FileExistsError):  # two at once
        place.mkdir(mode=0o700)


def write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600; a link that stands in its place is not followed. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
