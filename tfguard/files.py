"""Folders and files that nobody but their owner reads or changes, whatever the umask; and how bytes are written."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from pathlib import Path
from typing import IO


def is_directory_gone() -> bool:
    """Whether the working directory has been removed, or may not be looked up."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def inside(folder: Path, *suffixes: str) -> list[Path]:
    """Return what is in a folder and ends so, by name: nothing where there is no folder, or we may not look into it."""
    with contextlib.suppress(OSError):
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(suffixes)]
    return []


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


def make_real_folder(place: Path) -> None:
    """Make a folder as `make_folder` does. Raises OSError too where a link is in its place, as out of a checkout."""
    make_folder(place)
    os.close(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))


def read_own(path: Path, limit_bytes: int) -> bytes | None:
    """
    Return what stands in a file that we have written; None if there is none, it is longer, or somebody else may have.

    It and its folder are ours, and no links; nobody else can read it, or put another in its place.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_own(os.fstat(folder), 0o022):
            return None
        # Without O_NONBLOCK a FIFO would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path.name, flags, dir_fd=folder), "rb") as file:
            if not is_own(file.fileno()):
                return None
            data = file.read(limit_bytes + 1)
            return data if len(data) <= limit_bytes else None
    except OSError:
        return None
    finally:
        os.close(folder)


def is_own(descriptor: int) -> bool:
    """Whether an open file is an ordinary one of ours that nobody else may open."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and _is_own(status, 0o077)


def _is_own(status: os.stat_result, forbidden: int) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & forbidden


def write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600; a link that stands in its place is not followed. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def replace(path: Path, data: bytes) -> None:
    """
    Write a file that others read, as the umask has it: they find what was there before, or all of this. Raises OSError.
    """
    beside = write_beside(path, data)
    try:
        beside.replace(path)
    except OSError:
        beside.unlink()
        raise


def write_beside(path: Path, data: bytes) -> Path:
    """Write it into the same folder under another name, which is returned. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as file:
        file.write(data)
    return beside


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
