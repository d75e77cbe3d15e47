"""Folders and files that nobody but their owner reads or changes, whatever the umask; and how bytes are written."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path
from typing import IO


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


def scratch() -> IO[bytes]:
    """Open a file that nobody else sees and that leaves nothing behind; in memory, where a full disk is no matter."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("tfguard"), "w+b")
    import tempfile  # Slow to import.

    return tempfile.TemporaryFile()


def absolute(path: Path) -> Path:
    """Make a path free of `..` as the kernel would, links included; its last part is left as it is called."""
    if ".." not in path.parts:
        return path.absolute()
    return Path(os.path.realpath(path if path.name == ".." else path.parent), "" if path.name == ".." else path.name)


def write_all(descriptor: int, data: bytes) -> None:
    """
    Write all of it, in as many pieces as it takes, and wait as long as its reader takes.

    That it may be non-blocking (Node makes its children's pipes so) makes no difference. Raises OSError: it is closed,
    or full for good.
    """
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
