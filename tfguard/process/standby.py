"""
A shim that stands by: forked before the keeper has threads, it becomes the program later.

It does what `shim` does, 30 ms earlier: no Python has to start between the lock and Terraform. While it stands by it is
in the keeper's group, holds nothing but its end of a socket and the page, goes when the keeper goes, and dies of a
signal that asks to stop, as everybody here is asked to. The program is then started by a shim of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tfguard.process import fork, shim
from tfguard.process.inherited import STOPS
from tfguard.process.page import Page

_GO = b"g"
#: What tells of the program, its directory, its stdio: these always come.
_ALWAYS = 5
#: The kernel takes no more descriptors with one message (Linux: SCM_MAX_FD).
_MAX_DESCRIPTORS = 253


class Start(NamedTuple):
    """
    How a program is started: `group` 0 is a session of its own, `stdio` are descriptors. `handed`: which descriptor of
    ours it has under which number, beside these.
    """

    argv: Sequence[str]
    directory: str
    environ: Mapping[str, str]
    group: int
    stdio: Sequence[int]
    handed: Mapping[int, int] = MappingProxyType({})


class Standby:
    """The keeper's end."""

    def __init__(self, page: Page) -> None:
        """Only where a fork `is_possible`. Raises OSError."""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        parent, end = os.getpid(), theirs.fileno()
        try:
            with theirs:
                self._process = fork.fork(
                    "tfguard-shim", lambda: _stand_by(end, page.descriptor, parent), (end, page.descriptor)
                )
        except OSError:
            self._socket.close()
            raise

    def become(self, how: Start) -> fork.Forked | None:
        """
        Have it become this program; None if it has died meanwhile, or cannot be told (of so many descriptors).
        To be used once.

        Raises OSError: there is no such directory.
        """
        place = os.open(how.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        told = os.memfd_create("tfguard-program", os.MFD_CLOEXEC)  # However long: no write to a socket may wait.
        try:
            os.stat(".", dir_fd=place)  # Whether one may go there.
            with open(told, "wb", closefd=False) as file:
                file.write(_encode(how))
            given = [told, place, *how.stdio, *how.handed.values()]
            return self._process if self._tell(given, how.group) else None
        finally:
            os.close(place)
            os.close(told)
            self.close()

    def close(self) -> None:
        """Let it go: it ends when our end closes. It is reaped as everybody whom nobody waits for."""
        self._socket.close()

    def _tell(self, descriptors: list[int], group: int) -> bool:
        try:
            if self._process.poll() is not None or len(descriptors) > _MAX_DESCRIPTORS:
                return False
            if group:  # Before it is told, so that what a terminal sends to that group from now on reaches it.
                os.setpgid(self._process.pid, group)
            socket.send_fds(self._socket, [_GO], descriptors)
        except OSError:
            self._process.kill()  # Whether it was told or not, it does not go on.
            return False
        return True


_ready: Standby | None = None


def prepare(page: Page) -> None:
    """Have one stand by, if it can be had; `take` hands it out, once."""
    global _ready
    with contextlib.suppress(OSError):
        _ready = Standby(page)


def take() -> Standby | None:
    """Return who stands by, if anybody does."""
    global _ready
    taken, _ready = _ready, None
    return taken


def _encode(how: Start) -> bytes:
    variables = (f"{name}={value}" for name, value in how.environ.items())
    words = [str(how.group), " ".join(map(str, how.handed)), str(len(how.argv)), *how.argv, *variables]
    return b"\0".join(map(os.fsencode, words))


def _stand_by(end: int, page: int, parent: int) -> int:
    """Wait to be told; return only if nothing comes of it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    ours = socket.socket(fileno=end)
    data, descriptors, _, _ = socket.recv_fds(ours, 1, _MAX_DESCRIPTORS)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    if data != _GO:
        return 0  # The keeper has gone, or another shim is the program.
    if len(descriptors) < _ALWAYS:  # There was no room for them here: nothing has been started.
        return shim.NOT_EXECUTABLE
    ours.close()
    (told, place, *stdio), handed = descriptors[:_ALWAYS], descriptors[_ALWAYS:]
    os.fchdir(place)
    for descriptor, stream in zip(stdio, (0, 1, 2), strict=True):
        os.dup2(descriptor, stream)
    for descriptor in (place, *stdio):  # They came without close-on-exec.
        os.close(descriptor)
    with open(told, "rb") as file:
        file.seek(0)
        group, numbers, count, *words = file.read().split(b"\0")
    moves = dict(zip(map(int, numbers.split()), handed, strict=True))
    argv, environ = words[: int(count)], words[int(count) :]
    pairs = (pair.partition(b"=") for pair in environ)
    return shim.main(
        int(group),
        parent,
        page,
        [shim.written(moves), *(os.fsdecode(word) for word in argv)],
        {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs},
    )
