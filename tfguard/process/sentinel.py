"""
The sentinel: a small process beside the keeper that acts when the keeper cannot, and hears first where that matters.

1. **The keeper dies.** The sentinel gives Terraform its one SIGINT. The kernel could (PR_SET_PDEATHSIG), but it sends
   the signal once for each *thread* of the dying parent that Terraform is handed down to: measured, two SIGINTs for
   one `kill -9` of the keeper, and at the second Terraform drops its state. Should the front be dead too, the sentinel
   holds Terraform's pipes open, or it would die of SIGPIPE while it says that it stops.
2. **Every process is signalled, highest PID first.** GitLab's docker executor does so, waiting up to 6 s for each to
   go, and SIGTERM kills Terraform's providers. There the sentinel keeps the highest PID: it passes the word on, and
   goes when Terraform has gone. Terraform has the executor's 6 s to stop while its providers live.

Not promised: between the start of a provider and the keeper's next look (a second) the provider's PID is the highest;
and if keeper and sentinel are killed at once, nobody stops Terraform: the lease runs out.

3. **Front and keeper are both dead.** Nobody beats, and nobody is left to stop a Terraform that needs longer than the
   lease: at `safe_until` the sentinel kills it, before another run may be in. A local lock it holds for as long as
   Terraform runs: the kernel would free it together with its last holder.

The process itself is standard library only, run as `python -I -S sentinel.py DESCRIPTOR LIFELINE`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence

#: How often the keeper looks for PIDs above the sentinel's, in seconds.
LOOK_SECONDS = 1.0
#: Outside GitLab's containers: ask for the highest PID.
SWITCH = "TFGUARD_SENTINEL"
#: A sentinel that was told to end and does not (somebody has stopped it) is killed after this long.
_GOODBYE_SECONDS = 2.0
#: Output that nobody has read for this long has no reader any more.
_UNREAD_SECONDS = 5.0
#: How long a process may outlive its keeper under our eyes: as long as the keeper itself would have granted.
_LONGEST_SECONDS = 1800.0
#: The clock of `safe_until`: as in `clock`, which nothing here may import.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None) or time.CLOCK_MONOTONIC
_QUIT, _CLEAR, _HAD, _TERM = b"q\n", b"-\n", b"=\n", b"T"


def must_be_highest(environ: dict[str, str]) -> bool:
    """Whether somebody may signal all processes one by one: in a GitLab container, or the user says so."""
    is_gitlab_container = bool(environ.get("GITLAB_CI")) and bool(environ.get("CI_DISPOSABLE_ENVIRONMENT"))
    return environ.get(SWITCH, "1" if is_gitlab_container else "0") == "1"


class Sentinel:
    """The keeper's end. Readable when the sentinel was told to end (`has_heard`), or has ended."""

    def __init__(self, lifeline: int = -1) -> None:
        """`lifeline` is the end of a pipe that ends when nobody else is left to watch the process: see `launch`."""
        self._safe_until = float("inf")
        self._socket, theirs = socket.socketpair()
        # Blocked until the new process can hear it: a SIGTERM meanwhile stays pending.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno()), str(lifeline)],
                pass_fds=[theirs.fileno(), *([lifeline] if lifeline >= 0 else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Also what the shim registers itself with, so that no instant is unwatched: see `registration`."""
        return self._socket.fileno()

    def watch(self, pid: int, outputs: Sequence[int] = ()) -> None:
        """
        From now on this is the process to stop if the keeper dies. `outputs` are the read ends of its pipes: as long
        as somebody has them open, it does not die of SIGPIPE at its next message. With them goes what carries its
        local lock.
        """
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [registration(pid)], list(outputs))

    def forget(self) -> None:
        """The process is gone: its PID may be anybody's now."""
        self._send(_CLEAR)

    def expect(self, safe_until: float) -> None:
        """The process must have stopped writing by then (boottime), whoever lives."""
        if safe_until != self._safe_until:
            self._safe_until = safe_until
            self._send(b"!%.3f\n" % safe_until)

    def spare(self) -> None:
        """The process has had its one SIGINT: if the keeper dies now, hold its pipes open and no more."""
        self._send(_HAD)

    def has_heard(self) -> bool:
        """Read what made us readable: True for a SIGTERM, False if the process is gone."""
        with contextlib.suppress(OSError):
            return self._socket.recv(1) == _TERM
        return False

    def dismiss(self) -> bool:
        """There is nothing left to watch, or a successor does: let it end. Says whether it had heard a SIGTERM."""
        self._send(_QUIT)
        try:
            self._process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._socket, contextlib.suppress(OSError):
            return _TERM in self._socket.recv(16, socket.MSG_DONTWAIT)
        return False

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(message)


def registration(pid: int) -> bytes:
    """What a process writes to a sentinel's descriptor to be watched by it."""
    return b"+%d\n" % pid


def stand_by(descriptor: int, lifeline: int) -> None:
    """Wait for the keeper's words, and for its end."""
    end = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGTERM, lambda *_: end.send(_TERM))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    watched, has_had_signal, safe_until, outputs = _listen(end)
    if watched:
        with contextlib.suppress(OSError):
            os.kill(watched, 0 if has_had_signal else signal.SIGINT)
        _hold_open(watched, outputs, safe_until, lifeline)


def _listen(end: socket.socket) -> tuple[int, bool, float, list[int]]:
    """
    Follow the keeper's words to its end; return the process that it leaves behind (0: none), whether that has had its
    SIGINT, until when it may write, and its pipes.
    """
    watched, has_had_signal, safe_until, outputs, rest = 0, False, float("inf"), [], b""
    while True:
        data, descriptors, _, _ = socket.recv_fds(end, 4096, 8)
        outputs += descriptors
        if not data:
            return watched, has_had_signal, safe_until, outputs
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == _QUIT.strip():
                return 0, False, safe_until, []
            if line == _HAD.strip():
                has_had_signal = True
                continue
            if line.startswith(b"!"):
                safe_until = float(line[1:])
                continue
            has_had_signal = has_had_signal and line == b"+%d" % watched
            watched = int(line[1:]) if line.startswith(b"+") else 0
            if not watched:
                for descriptor in outputs:
                    os.close(descriptor)
                outputs = []


def _hold_open(watched: int, outputs: list[int], safe_until: float, lifeline: int) -> None:
    """Keep the process's pipes open until it is gone, and drain what nobody else reads; past `safe_until` end it."""
    until = time.monotonic() + _LONGEST_SECONDS
    outputs = [descriptor for descriptor in outputs if stat.S_ISFIFO(os.fstat(descriptor).st_mode)]
    seen = dict.fromkeys(outputs, (0, time.monotonic()))
    with contextlib.suppress(OSError):
        while time.monotonic() < until and not _is_gone(watched):
            for descriptor in outputs:
                pending = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
                before, since = seen[descriptor]
                if pending and pending == before and time.monotonic() - since > _UNREAD_SECONDS:
                    os.read(descriptor, pending)
                elif pending != before:
                    seen[descriptor] = (pending, time.monotonic())
            if time.clock_gettime(_BOOTTIME) >= safe_until and _has_ended(lifeline):
                _kill(watched)
            time.sleep(0.1)


def _has_ended(lifeline: int) -> bool:
    """Whether front and keepers are all gone. While one of them lives, the deadlines are its own to enforce."""
    return lifeline >= 0 and bool(select.select([lifeline], [], [], 0)[0])


def _kill(watched: int) -> None:
    """SIGKILL a process and all its descendants, parents first; where there is no /proc, the process alone."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{int(name)}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    family = [watched]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    for pid in family:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody reaps has."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"
    return os.path.isdir("/proc/self") or not _answers(pid)


def _answers(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


if __name__ == "__main__":
    stand_by(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
