"""
The sentinel: a small process beside the keeper that acts when the keeper cannot, and hears first where that matters.

1. **The keeper dies.** The sentinel gives Terraform its one SIGINT. The kernel could (PR_SET_PDEATHSIG), but it sends
   the signal once for each *thread* of the dying parent that Terraform is handed down to: measured, two SIGINTs for
   one `kill -9` of the keeper, and at the second Terraform drops its state.
2. **Every process is signalled, highest PID first.** GitLab's docker executor does so, waiting up to 6 s for each to
   go, and SIGTERM kills Terraform's providers. There the sentinel keeps the highest PID: it passes the word on, and
   goes when Terraform has gone. Terraform has the executor's 6 s to stop while its providers live.

Not promised: between the start of a provider and the keeper's next look (a second) the provider's PID is the highest;
and if keeper and sentinel are killed at once, nobody stops Terraform: the lease runs out.

The process itself is standard library only, run as `python -I -S sentinel.py DESCRIPTOR`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

#: How often the keeper looks for PIDs above the sentinel's, in seconds.
LOOK_SECONDS = 1.0
#: Outside GitLab's containers: ask for the highest PID.
SWITCH = "TFGUARD_SENTINEL"
_QUIT, _CLEAR, _TERM = b"q\n", b"-\n", b"T"


def must_be_highest(environ: dict[str, str]) -> bool:
    """Whether somebody may signal all processes one by one: in a GitLab container, or the user says so."""
    is_gitlab_container = bool(environ.get("GITLAB_CI")) and bool(environ.get("CI_DISPOSABLE_ENVIRONMENT"))
    return environ.get(SWITCH, "1" if is_gitlab_container else "0") == "1"


class Sentinel:
    """The keeper's end. Readable when the sentinel was told to end (`has_heard`), or has ended."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Also what the shim registers itself with, so that no instant is unwatched: see `registration`."""
        return self._socket.fileno()

    def watch(self, pid: int) -> None:
        """From now on this is the process to stop if the keeper dies."""
        self._send(registration(pid))

    def forget(self) -> None:
        """The process is gone: its PID may be anybody's now."""
        self._send(_CLEAR)

    def has_heard(self) -> bool:
        """Read what made us readable: True for a SIGTERM, False if the process is gone."""
        with contextlib.suppress(OSError):
            return self._socket.recv(1) == _TERM
        return False

    def dismiss(self) -> None:
        """There is nothing left to watch, or a successor does: let it end."""
        self._send(_QUIT)
        self._socket.close()
        self._process.wait()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(message)


def registration(pid: int) -> bytes:
    """What a process writes to a sentinel's descriptor to be watched by it."""
    return b"+%d\n" % pid


def stand_by(descriptor: int) -> None:
    """Wait for the keeper's words, and for its end."""
    end = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGTERM, lambda *_: end.send(_TERM))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    watched = 0
    with end.makefile("rb") as lines:
        for line in lines:
            if line == _QUIT:
                return
            watched = int(line[1:]) if line.startswith(b"+") else 0
    if watched:
        with contextlib.suppress(OSError):
            os.kill(watched, signal.SIGINT)


if __name__ == "__main__":
    stand_by(int(sys.argv[1]))
    os._exit(0)
