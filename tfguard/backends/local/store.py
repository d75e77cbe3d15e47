"""
The lock that Terraform's local backend takes: a lock of the kernel on the state file, `.<name>.lock.info` beside it.

On Linux it is an open-file-description lock: keeper and front hold the same description, so it lasts as long as either
lives, and no open() or close() elsewhere in a process can drop it. On macOS only POSIX locks are to be had: they belong
to one process and end when it closes *any* descriptor of the file, so there the front cannot carry the lock over a
keeper's death. Either way the kernel ends the lock with its holders: there are no leases, and a `.lock.info` without
a lock is a leftover that means nothing.

The queue record is a file of its own beside the state, `.<name>.tfguard`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.names import QUEUE_SUFFIX
from tfguard.lock.store import BaseStore, LockRecord, QueueRecord
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.local.spec import LocalSpec

#: LockRecord.version of a lock whose state file we made ourselves.
_MADE = "made"
_QUEUE_SECONDS = 3.0
_HAS_OFD = hasattr(fcntl, "F_OFD_SETLK")
#: struct flock: Linux, and the BSDs with macOS.
_FLOCK = "hhqqi4x" if sys.platform == "linux" else "qqihh"


class LocalStore(BaseStore):
    """A local state file's lock. It lives as long as this store, or whoever has a duplicate of `fileno()`, lives."""

    has_leases = False

    def __init__(self, spec: LocalSpec) -> None:
        self._path, self._place = spec.path, spec.place
        directory, name = os.path.split(spec.path)
        self._directory = directory
        self._info_path = os.path.join(directory, f".{name}.lock.info")
        self._queue_path = os.path.join(directory, f".{name}{QUEUE_SUFFIX}")
        self._fd = -1
        self._record: LockRecord | None = None
        self._has_locked = False

    @classmethod
    def adopt(cls, spec: LocalSpec, fd: int, record: LockRecord | None = None) -> LocalStore:
        """
        Go on with a lock that somebody else took on `fd`, and own that descriptor.

        `record` is what `create` gave; without it what `.lock.info` says is taken for it.
        """
        store = cls(spec)
        store._fd = fd
        store._has_locked = True
        store._record = record or store._read_info()
        return store

    @property
    def place(self) -> str:
        return self._place

    def fileno(self) -> int:
        """The descriptor that carries the lock, -1 if we do not hold it."""
        return self._fd

    def read(self) -> LockRecord | None:
        if self._fd >= 0:
            return self._record
        with self._answers("read"):
            return self._read_info() if self._is_held() else None

    def create(self, record: LockRecord) -> LockRecord:
        if self._fd >= 0:
            raise Conflict(self.place)
        with self._answers("lock"):
            os.makedirs(self._directory, exist_ok=True)
            self._fd, is_made = self._lock_file()
            self._has_locked = True
            kept = msgspec.structs.replace(record, lease=None, version=_MADE if is_made else "")
            try:
                self._write_info(kept)
            except BaseException:
                self._let_go()
                raise
        return kept

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        kept = msgspec.structs.replace(record, lease=None, version=self._ours(seen).version)
        with self._answers("write beside"):
            self._write_info(kept)
        return kept

    def delete(self, seen: LockRecord) -> None:
        record = self._ours(seen)
        with self._answers("unlock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._info_path)
            if record.version == _MADE:
                self._remove_empty_state()
            self._let_go()

    def read_queue(self) -> QueueRecord | None:
        with self._answers("read beside"):
            try:
                content = _read(self._queue_path, queue_record.MAX_STORED_BYTES)
            except FileNotFoundError:
                return None
        return queue_record.decode_record(content)

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        with self._answers("write beside"):
            # `workspace delete` removes the directory under our lock: making it again would bring the workspace back.
            if not self._has_locked:
                os.makedirs(self._directory, exist_ok=True)
            with self._queue_alone():
                stored = self.read_queue()
                if (stored is None) != (seen is None) or (stored and seen and stored.revision != seen.revision):
                    raise Conflict(self._queue_path)
                _rewrite(self._queue_path, queue_record.encode_record(record))
        return msgspec.structs.replace(record, version="")

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._let_go()

    # --- the lock -----------------------------------------------------------------------------------------------

    def _lock_file(self) -> tuple[int, bool]:
        """Lock the state file, made if need be: give the descriptor, and whether we made it. Raises Conflict."""
        while True:
            fd, is_made = _open_or_make(self._path)
            try:
                _set_lock(fd)
                # Whoever held it may have removed an empty state file between our open and our lock.
                if _is_same_file(fd, self._path):
                    return fd, is_made
            except BlockingIOError:
                os.close(fd)
                raise Conflict(self.place) from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _is_held(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        try:
            return _is_locked(fd)
        finally:
            os.close(fd)

    def _ours(self, seen: LockRecord) -> LockRecord:
        if self._fd < 0 or self._record is None or self._record.text != seen.text:
            raise Conflict(self.place)
        return self._record

    def _let_go(self) -> None:
        # Closing is not enough: the front has a duplicate of this descriptor.
        fd, self._fd, self._record = self._fd, -1, None
        try:
            _set_lock(fd, fcntl.F_UNLCK)
        finally:
            os.close(fd)

    def _remove_empty_state(self) -> None:
        """
        Remove the state file that we made, if it is still empty and nobody else has it open.

        A plain Terraform that waits for the lock keeps the file open: it would go on to write its state into a
        file that no longer has a name. A write lease tells (Linux only; elsewhere the empty file stays, which
        Terraform takes for "no state").
        """
        if not hasattr(fcntl, "F_SETLEASE") or os.fstat(self._fd).st_size or not _is_same_file(self._fd, self._path):
            return
        try:
            # Should somebody open it in this very moment, the kernel sends us a signal: one that is ignored.
            fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return
        try:
            os.unlink(self._path)
        finally:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    # --- the files beside it ------------------------------------------------------------------------------------

    def _write_info(self, record: LockRecord) -> None:
        _rewrite(self._info_path, record.text.encode())
        self._record = record

    def _read_info(self) -> LockRecord:
        try:
            text = _read(self._info_path, lockinfo.MAX_BYTES + 1).decode("utf-8", "replace")
        except OSError:
            text = ""
        return LockRecord(text=text, info=lockinfo.decode(text))

    @contextlib.contextmanager
    def _queue_alone(self) -> Iterator[None]:
        """Be the only writer of queue records in this directory."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + _QUEUE_SECONDS
            while not _try_flock(fd):
                if time.monotonic() > deadline:
                    raise StoreUnavailable(f"Somebody keeps {printable(self._directory, 80)} locked.")
                time.sleep(0.005)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _answers(self, action: str) -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except OSError as error:
            raise _translated(error, action, self._path) from error


def _translated(error: OSError, action: str, path: str) -> Exception:
    what = f"Cannot {action} {printable(path, 80)}: {printable(error.strerror or str(error.errno), 25)}."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        advice = "Let this user write there; Terraform itself needs that too."
        return StoreDenied(f"{what}\n{advice}", action=action, resource=path)
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOLCK, errno.ENFILE, errno.ESTALE}:
        return StoreUnavailable(what)
    if error.errno == errno.EMFILE:  # Nobody but us could close some.
        return StoreMisconfigured(f"{what}\nAllow this shell more open files: ulimit -n 256")
    return StoreMisconfigured(f"{what}\nCorrect `path` in the backend's configuration.")


def _open_or_make(path: str) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, flags, 0o666), False


def _is_same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _set_lock(fd: int, kind: int = fcntl.F_WRLCK) -> None:
    """Lock the whole file at once or not at all (BlockingIOError), or unlock it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK if _HAS_OFD else fcntl.F_SETLK, _flock(kind))
    except OSError as error:
        # POSIX leaves open which of the two says "somebody else has it".
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            raise BlockingIOError(error.errno, error.strerror) from None
        raise


def _is_locked(fd: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK if _HAS_OFD else fcntl.F_GETLK, _flock(fcntl.F_WRLCK))
    fields = struct.unpack(_FLOCK, answer)
    kind = fields[0] if _FLOCK.startswith("h") else fields[3]
    return bool(kind != fcntl.F_UNLCK)


def _flock(kind: int) -> bytes:
    whole: tuple[Any, ...] = (kind, os.SEEK_SET, 0, 0, 0) if _FLOCK.startswith("h") else (0, 0, 0, kind, os.SEEK_SET)
    return struct.pack(_FLOCK, *whole)


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: str, max_bytes: int) -> bytes:
    """Read a regular file's beginning; never waits on a FIFO that somebody put in its place."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(max_bytes)


def _rewrite(path: str, content: bytes) -> None:
    """Replace a file as a whole, mode 0600: whoever reads it sees the old content or the new one."""
    fd, scratch = tempfile.mkstemp(prefix=f"{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.rename(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
