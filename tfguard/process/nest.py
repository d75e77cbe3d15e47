"""
The nest: the inside of one program under a lock, where several tfguards may run, of which one at a time is let in.

They all run under the lock of the tfguard around them, which keeps others out, not them from one another. So each takes
a lock of the kernel on a file that has the nest's name. It belongs to the open file, not to the process: keeper, front
and sentinel hold it together, so it lasts as long as any of them does. What runs inside a run inside has a nest of its
own, and does not wait for those around it.

Not promised: a container that does not share the folder of nests takes turns with nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from tfguard import files
from tfguard.errors import StoreMisconfigured
from tfguard.lock.protocol import Sibling
from tfguard.text import printable
from tfguard.wire import pack, unpack

_MAX_BYTES = 4096


class Nest:
    """One run's place in the nest whose file is `path`: the `protocol.Nest`. `descriptor`: a predecessor was in it."""

    def __init__(self, path: str, us: Sibling, descriptor: int = -1) -> None:
        self.ahead: Sibling | None = None
        self._path = Path(path)
        self._us = us
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def try_enter(self) -> bool:
        while self._descriptor < 0:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.ahead = _read(descriptor)
                os.close(descriptor)
                return False
            except OSError as error:
                os.close(descriptor)
                raise self._unusable(error) from error
            if not self._is_in_place(descriptor):  # Whoever left has removed it between our open and our lock.
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            with contextlib.suppress(OSError):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, pack(self._us), 0)
        return True

    def leave(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if self._is_in_place(descriptor):
                self._path.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # Closing is not enough: the front has it open too.
        os.close(descriptor)

    def _open(self) -> int:
        if not self._path.is_absolute():
            raise self._unusable(ValueError("not an absolute path"))
        try:
            files.make_folder(self._path.parent)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _is_in_place(self, descriptor: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path, follow_symlinks=False))
        return False

    def _unusable(self, error: Exception) -> StoreMisconfigured:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return StoreMisconfigured(
            f"This runs inside another tfguard, and cannot take turns with others there: {printable(str(self._path))}:"
            f" {why}. Pass TFGUARD_NEST on as it is, or unset TFGUARD_LOCK_ID to wait for the other's lock."
        )


def _read(descriptor: int) -> Sibling | None:
    with contextlib.suppress(OSError, msgspec.DecodeError, RecursionError):
        return unpack(os.pread(descriptor, _MAX_BYTES, 0), Sibling)
    return None
