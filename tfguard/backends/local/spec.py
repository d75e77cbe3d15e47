"""Where a lock and its state lie in this machine's files: plain data that crosses the socket to the keeper."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from tfguard.backends.spec import LockSpec, StateSpec
from tfguard.lock.names import COPY_MARK
from tfguard.lock.store import Store

if TYPE_CHECKING:
    from tfguard.backends import spec


class LocalSpec(LockSpec, frozen=True, kw_only=True, omit_defaults=True, tag="local"):
    """
    A lock that the kernel keeps on a local file. `path` is the state file, absolute; not `is_state`: it is a file for
    nothing but a lock of the user's own name.
    """

    backend: ClassVar[str] = "local"
    is_kernel_lock: ClassVar[bool] = True

    path: str
    is_state: bool = True

    @property
    def place(self) -> str:
        """The file, for people."""
        return f"state file {self.path}" if self.is_state else f"file {self.path}"

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.local.store import LocalStore

        return LocalStore(self)

    def adopt(self, descriptor: int) -> Store:
        from tfguard.backends.local.store import LocalStore

        return LocalStore.adopt(self, descriptor)

    def own_state(self) -> LocalState:
        return LocalState(path=self.path)

    def makes_workspace(self) -> bool:
        # Locking creates the file's directory, and that is all there is to a workspace.
        return not os.path.isdir(os.path.dirname(self.path))


class LocalState(StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="local"):
    """A state file. Copies stand beside it, readable by their owner alone."""

    path: str

    @property
    def place(self) -> str:
        return f"state file {self.path}"

    def read(self, max_bytes: int) -> bytes | None:
        try:
            with open(self.path, "rb") as file:
                return file.read(max_bytes)
        except FileNotFoundError:
            return None

    def keep_copy(self, path: str, lock_id: str) -> str:
        import shutil  # Slow to import, as `glob`, and this module is imported by every run.

        place = f"{self.path}{COPY_MARK}{lock_id}"
        shutil.copyfile(path, place)
        os.chmod(place, 0o600)
        return place

    def find_copies(self) -> list[str]:
        import glob

        return sorted(glob.glob(f"{glob.escape(self.path)}{COPY_MARK}*"))

    def has_copy(self, place: str) -> bool:
        return os.path.exists(place)
