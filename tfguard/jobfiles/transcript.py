"""
What Terraform printed, kept for whoever tells of the run: the beginning and the end of it, in a file.

The file has a fixed frame: a counter, the first bytes, and a ring of the last. So neither memory nor disk grows with
what is printed; and whoever comes after a SIGKILL, the keeper or a later step, finds what was printed until then.

It holds what the terminal or the job's log shows, as it is: mode 0600, masked only where it is shown again, and removed
as soon as that has been done. Not promised: every byte, where the disk is full or two processes write at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from tfguard import files
from tfguard.jobfiles import own_file

#: Why a command failed stands at its end.
HEAD_BYTES = 256 * 1024
TAIL_BYTES = 768 * 1024
_COUNT = struct.Struct("<Q")


def left_out(count: int) -> str:
    """The note in the place of what was cut out."""
    return f"\n… {count} bytes left out …\n"


class Transcript:
    """Takes what is printed, from any thread. Nothing here raises: what cannot be kept is not kept."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Transcript:
        """Begin one in a file that only its owner can read; in memory, where there can be no file."""
        try:
            own_file.make_folder(path.parent)
            return cls(_opened(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        except OSError:
            return cls(io.BytesIO())

    @classmethod
    def find(cls, path: Path) -> Transcript | None:
        """Go on with one that somebody else has begun; None if nobody has."""
        try:
            return cls(_opened(path, os.O_RDWR))
        except OSError:
            return None

    def write(self, data: bytes) -> None:
        """Keep `data`, which may push out what was printed before it."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            count = self._count()  # Read every time: after the front, the keeper goes on.
            for at, part in _placed(count, data):
                self._file.seek(at)
                self._file.write(part)
            self._file.seek(0)
            self._file.write(_COUNT.pack(count + len(data)))

    def read(self) -> str:
        """Return what is kept, with a note where something was left out."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            count = self._count()
            self._file.seek(_COUNT.size)
            kept = self._file.read(HEAD_BYTES + TAIL_BYTES)
            head, ring, lost = kept[:HEAD_BYTES], kept[HEAD_BYTES:], count - HEAD_BYTES - TAIL_BYTES
            if lost <= 0:
                return _text(kept[:count])
            at = lost % TAIL_BYTES
            # Whole lines: of a sign or an escape sequence that was cut in two, half would be rubbish.
            first, second = head[: head.rfind(b"\n") + 1] or head, (ring[at:] + ring[:at]).partition(b"\n")
            tail = second[2] or second[0]
            return _text(first) + left_out(count - len(first) - len(tail)) + _text(tail)
        return ""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _count(self) -> int:
        self._file.seek(0)
        head = self._file.read(_COUNT.size)
        return int(_COUNT.unpack(head)[0]) if len(head) == _COUNT.size else 0


def _opened(path: Path, flags: int) -> BinaryIO:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not files.is_own(descriptor):
        os.close(descriptor)
        raise PermissionError(f"{path} is not ours")
    # Unbuffered: what was written is in the file whatever becomes of us.
    return cast("BinaryIO", open(descriptor, "r+b", buffering=0))


def _placed(count: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Return which part of `data`, that comes after `count` bytes, goes where in the file."""
    while data:
        if count < HEAD_BYTES:
            at, room = count, HEAD_BYTES - count
        else:
            at = HEAD_BYTES + (count - HEAD_BYTES) % TAIL_BYTES
            room = HEAD_BYTES + TAIL_BYTES - at
        yield _COUNT.size + at, data[:room]
        count, data = count + len(data[:room]), data[room:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
