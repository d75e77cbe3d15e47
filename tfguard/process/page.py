"""
What front, keeper, sentinel and shim know in common: a page of memory that outlives each of them.

A message can be late, lost with its sender or stuck behind a reader that was stopped; what stands here is known to all
at the instant at which it is written. So whoever enforces a deadline has it from here, and a program is entered here
by itself before it can do anything. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from tfguard.process import family
from tfguard.process.relatives import Kin

_DOUBLE, _PROGRAM = struct.Struct("<d"), struct.Struct("<qq")
#: Where each fact stands. Each is written by one process at a time, and read whole: eight aligned bytes.
_SAFE_UNTIL, _KEEPER_SEEN, _FREEZE_TIMEOUT, _SIGNALLED, _PROGRAM_AT, _FRONT, _GROUP = 0, 8, 16, 24, 32, 48, 56
#: How a program's relatives are known: written before it starts, and not again while it runs.
_KIN_AT, _KIN_BYTES = 64, 1984
#: The path of the run's private folder.
_FOLDER_AT, _FOLDER_BYTES = _KIN_AT + _KIN_BYTES, 2048
_SIZE = _FOLDER_AT + _FOLDER_BYTES
#: In a folder within the run's: what leads back to a link to it. `terraform.data_overlay` makes both.
_BACK = ".tfguard-link"


class Program(NamedTuple):
    """A program under the lock: a PID alone may be anybody's by now, so its start time is with it."""

    pid: int
    started_at: int


Number = TypeVar("Number", int, float)


class _Fact(Generic[Number]):
    """One number on a page, read and written there."""

    def __init__(self, place: int, kind: Callable[[float], Number]) -> None:
        self._place = place
        self._kind: Callable[[float], Number] = kind

    def __get__(self, page: Page, _owner: type[Page] | None = None) -> Number:
        value: float = _DOUBLE.unpack(os.pread(page.descriptor, _DOUBLE.size, self._place))[0]
        return self._kind(value)

    def __set__(self, page: Page, value: Number) -> None:
        os.pwrite(page.descriptor, _DOUBLE.pack(value), self._place)


class Page:
    """
    One page, known by a descriptor that its processes inherit. Instants are boottime, in seconds.

    *safe_until*: when the program must have stopped writing; *keeper_seen*: when the keeper last went round its loop;
    *freeze_timeout*: for how many seconds a program may stay frozen; *front*: the front's PID, 0 once it has
    left; *group*: the process group that front and program share on a terminal, else 0. *folder*: where the run keeps
    what only we may read; the last of ours to leave removes it. The program is the one that runs now, and its one
    SIGINT is claimed here by whoever sends it.
    """

    safe_until = _Fact(_SAFE_UNTIL, float)
    keeper_seen = _Fact(_KEEPER_SEEN, float)
    freeze_timeout = _Fact(_FREEZE_TIMEOUT, float)
    front = _Fact(_FRONT, int)
    group = _Fact(_GROUP, int)
    _signalled = _Fact(_SIGNALLED, float)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def create(cls) -> Page:
        """Make a page, as the front: no program, and nothing that would have to stop. Raises OSError."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("tfguard", os.MFD_CLOEXEC)
        else:
            import tempfile  # Slow to import.

            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _SIZE)
        page = cls(descriptor)
        page.safe_until = page.freeze_timeout = float("inf")
        page.front = os.getpid()
        return page

    # --- the run's folder ---------------------------------------------------------------------------------------

    @property
    def folder(self) -> str:
        return os.fsdecode(os.pread(self.descriptor, _FOLDER_BYTES, _FOLDER_AT).rstrip(b"\0"))

    @folder.setter
    def folder(self, path: str) -> None:
        name = os.fsencode(path)
        if len(name) <= _FOLDER_BYTES:
            os.pwrite(self.descriptor, name.ljust(_FOLDER_BYTES, b"\0"), _FOLDER_AT)

    def remove_folder(self) -> None:
        """Nobody of ours needs it any more, nor what leads to it from outside."""
        if self.folder:
            import shutil  # Slow to import.

            for link in _links_to(self.folder):
                with contextlib.suppress(OSError):
                    os.unlink(link)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = ""

    # --- the program --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """No program runs; the next one has not had its SIGINT."""
        os.pwrite(self.descriptor, _PROGRAM.pack(0, 0), _PROGRAM_AT)
        os.pwrite(self.descriptor, bytes(_KIN_BYTES), _KIN_AT)
        self._signalled = 0.0

    def await_kin(self, kin: Kin) -> None:
        """The program that is about to start has relatives who are known so."""
        words = b"\0".join((kin.waits_for.encode(), os.fsencode(kin.nest)))
        if len(words) < _KIN_BYTES:  # A longer path is no nest of ours.
            os.pwrite(self.descriptor, words, _KIN_AT)

    @property
    def kin(self) -> Kin | None:
        """How the program's relatives are known; None if there is no program, or they do not matter."""
        waits_for, nest, *_ = (*os.pread(self.descriptor, _KIN_BYTES, _KIN_AT).split(b"\0"), b"")
        return Kin(os.fsdecode(nest), waits_for.decode()) if nest else None

    def enter(self, pid: int) -> None:
        """This program is about to run: said by itself, before its first instruction."""
        os.pwrite(self.descriptor, _PROGRAM.pack(pid, family.started_at(pid)), _PROGRAM_AT)

    def program(self) -> Program | None:
        """Return the program that was entered, ended or not; None if there is none, or its PID is another's by now."""
        found = Program(*_PROGRAM.unpack(os.pread(self.descriptor, _PROGRAM.size, _PROGRAM_AT)))
        if not found.pid or family.started_at(found.pid) != found.started_at:
            return None
        return found

    @property
    def is_signalled(self) -> bool:
        """Whether the program has had its one SIGINT, or somebody of ours is about to send it."""
        return self._signalled > 0

    def claim_signal(self) -> bool:
        """
        Claim the program's one SIGINT: True for one caller only, who sends it at once.

        A caller that dies between the two leaves a program that nobody asks to stop; that it is asked twice is worse.
        """
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Another is at it.
            return False
        try:
            claimed = not self.is_signalled
            self._signalled = 1.0
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
        return claimed


def _links_to(folder: str) -> Iterator[str]:
    """Give the links from outside to what is in a folder, as it names them itself."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            place = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                link = os.readlink(os.path.join(place, _BACK))
                if os.readlink(link) == place:
                    yield link
