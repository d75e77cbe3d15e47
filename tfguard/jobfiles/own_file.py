"""
A file that we leave for a later step of our job, and believe again only if we have written it.

It is ours and private, in a folder of ours. Where the only folder that the steps of a job share is the checkout, a
branch can bring such a file along, or an earlier job have left it. So there it is sealed: with a secret that the
platform gives to every step of this one job, over its name and all that is in it.

Not promised: that a program of this very job does not forge one. It has the job's secret, and all else that we have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from tfguard import files
from tfguard.ci import platforms

_secret = b""
#: A line break and a SHA-256 in hex, at the end of the file.
_SEAL_BYTES = 65


def remember_job(environ: Mapping[str, str]) -> None:
    """
    Be of the job that has this environment, from now on.

    It has to be the one that this process was started with: a pipeline's `env`, which it may take on later, comes with
    the checkout.
    """
    global _secret
    _secret = platforms.job_secret(environ)


def is_sealed() -> bool:
    """Whether what is read here can be of no other job."""
    return bool(_secret)


def make_folder(place: Path) -> None:
    """Make the folder of records. Raises OSError; also where it is another's, or a link that came with a checkout."""
    if place.parent.name == ".tfguard":
        files.make_real_folder(place.parent)
        # It stands in somebody's checkout: git should not see it.
        with contextlib.suppress(FileExistsError), open(place.parent / ".gitignore", "xb", opener=_private) as file:
            file.write(b"*\n")
    files.make_real_folder(place)
    if place.stat().st_uid != os.geteuid():
        raise PermissionError(f"{place} is another user's")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def write(path: Path, data: bytes) -> None:
    """Write it whole; its folder is there. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    files.write(beside, data + _seal(path.name, data))
    beside.replace(path)


def read(path: Path, limit_bytes: int) -> bytes | None:
    """Return what we have written; None if there is nothing, or somebody else may have."""
    content = files.read_own(path, limit_bytes + _SEAL_BYTES)
    if content is None or not _secret:
        return content
    import hmac

    data, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    return data if hmac.compare_digest(seal, _seal(path.name, data)) else None


def _seal(name: str, data: bytes) -> bytes:
    if not _secret:
        return b""
    import hmac  # Not needed before a lock is held.

    return b"\n" + hmac.digest(_secret, f"{name}\0".encode() + data, "sha256").hex().encode()
