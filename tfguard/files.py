"""Folders and files that nobody but their owner reads or changes, whatever the umask; and how bytes are written."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path
from typing import IO

#: How long a full, non-blocking stderr may hold us up before the rest of what we say is dropped.
PATIENCE_SECONDS = 0.5


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


def write_all(descriptor: int, data: bytes, *, patience_seconds: float | None = None) -> None:
    """
    Write all of it, in as many pieces as it takes.

    Raises:
        BlockingIOError: It is non-blocking (Node makes its children's pipes so), and its reader took nothing for
            `patience_seconds`; None waits for ever.

        OSError: It is closed, or full.
    """
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            if not select.select([], [descriptor], [], patience_seconds)[1]:
                raise


def write_to_stderr(text: str) -> None:
    """Write for whoever reads stderr, whatever has become of it: never an error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
        write_all(2, text.encode("utf-8", "backslashreplace"), patience_seconds=PATIENCE_SECONDS)
