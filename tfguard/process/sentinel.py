"""
The sentinel: a small process beside the keeper that acts when the keeper cannot, and hears first where that matters.

1. **The keeper dies.** The sentinel gives Terraform its one SIGINT. The kernel could (PR_SET_PDEATHSIG), but it sends
   the signal once for each *thread* of the dying parent that Terraform is handed down to: measured, two SIGINTs for
   one `kill -9` of the keeper, and at the second Terraform drops its state. Should the front be dead too, the sentinel
   holds Terraform's pipes open, or it would die of SIGPIPE while it says that it stops.
2. **Nobody beats.** `safe_until` stands in the page, and the sentinel has a clock of its own: whoever else lives or
   seems to, it freezes what may not write any more, and looks again at every tick. What has stayed frozen for
   `freeze_timeout`, or has nobody left who could ever thaw it, it kills. A local lock it holds until Terraform is
   gone: the kernel would free it together with its last holder. With Terraform go its relatives, known by their nest.
3. **Every process is signalled, highest PID first.** GitLab's docker executor does so, waiting up to 6 s for each to
   go, and SIGTERM kills Terraform's providers. There the sentinel keeps the highest PID: it passes the word on, and
   goes when Terraform has gone. Terraform has the executor's 6 s to stop while its providers live.
4. **A whole job is signalled** (`kill %1`). On a terminal front and Terraform share a process group, and nobody sees
   what Terraform prints there. So the sentinel joins that group after it, and says which signals reach it: Terraform
   has had those too, and gets no other. (The keeper keeps out of it: a `kill -9 %1` must not end it.)

Not promised: between the start of a provider and the keeper's next look (a second) the provider's PID is the highest;
and if keeper, front and sentinel are killed at once, nobody stops Terraform: the lease runs out.

The process itself is standard library only, started by `bare.command`, or forked while its keeper has one thread.
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
import termios
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfguard.process import bare, family, fork
from tfguard.process.inherited import STOPS
from tfguard.process.page import Page
from tfguard.process.relatives import Relatives

#: How often the keeper looks for PIDs above the sentinel's, in seconds.
LOOK_SECONDS = 1.0
#: Outside GitLab's containers: ask for the highest PID.
SWITCH = "TFGUARD_SENTINEL"
#: A sentinel that was told to end and does not (somebody has stopped it) is killed after this long.
GOODBYE_SECONDS = 2.0
#: Output that nobody has read for this long has no reader any more.
_UNREAD_SECONDS = 5.0
#: How long a process may outlive front and keeper under our eyes: as long as the keeper itself would have granted.
_LONGEST_SECONDS = 1800.0
#: How often the sentinel looks at the clock, in seconds: as `deadlines.TICK_SECONDS`, which nothing here may import.
_TICK_SECONDS = 0.25
#: The clock of `safe_until`: as in `clock`, which nothing here may import.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None) or time.CLOCK_MONOTONIC
_QUIT, _HOLD = b"q", b"="
#: What it tells its keeper: a `Heard`.
_HEARD = struct.Struct("<qq")
#: What a shell sends to stop a job: whoever shares a group with it must live through that.
_JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def must_be_highest(environ: dict[str, str]) -> bool:
    """Whether somebody may signal all processes one by one: in a GitLab container, or the user says so."""
    is_gitlab_container = bool(environ.get("GITLAB_CI")) and bool(environ.get("CI_DISPOSABLE_ENVIRONMENT"))
    return environ.get(SWITCH, "1" if is_gitlab_container else "0") == "1"


class Heard(NamedTuple):
    """A SIGTERM or SIGINT that a sentinel has had; `beside`: the program whose group it has joined by then, or 0."""

    number: int
    beside: int


class Sentinel:
    """
    The keeper's end. Readable when the sentinel was told to end (`heard`), or has ended.

    Nothing here waits: a sentinel that somebody has stopped must not stop its keeper.
    """

    def __init__(
        self, page: Page, lifeline: int = -1, *, is_forked: bool = False, environ: Mapping[str, str] | None = None
    ) -> None:
        """
        `lifeline` is the end of a pipe that ends when nobody else is left to watch the program: see `launch`.

        `is_forked`: without a Python of its own, where a fork `is_possible`. `environ` is what one with a Python of its
        own gets: it needs no secret. Raises OSError.
        """
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        end = theirs.fileno()
        passed = [end, page.descriptor, *([lifeline] if lifeline >= 0 else [])]
        self._process: subprocess.Popen[bytes] | fork.Forked
        # Blocked until the new process can hear them: what comes meanwhile stays pending.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            with theirs:
                if is_forked:
                    self._process = fork.fork(
                        "tfguard-sentinel", lambda: _begin(end, page.descriptor, lifeline), passed
                    )
                    return
                self._process = subprocess.Popen(
                    bare.command("sentinel", end, page.descriptor, lifeline),
                    env=environ,
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except OSError:
            self._socket.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._socket.fileno()

    def hold(self, descriptors: Sequence[int]) -> None:
        """
        Hold these, and none that it held before: the read ends of the program's pipes, and what carries a local lock.

        As long as somebody has them open, the program does not die of SIGPIPE at its next message.
        """
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [_HOLD], list(descriptors))

    def heard(self) -> list[Heard]:
        """Read what made us readable: the signals that it has had, none if the process is gone."""
        data = b""
        with contextlib.suppress(OSError):
            data = self._socket.recv(64 * _HEARD.size)
        return [Heard(*found) for found in _HEARD.iter_unpack(data[: len(data) // _HEARD.size * _HEARD.size])]

    def dismiss(self) -> None:
        """There is nothing left to watch, or a successor does: let it end. `has_ended` tells when it has."""
        with contextlib.suppress(OSError):
            self._socket.send(_QUIT)

    def has_ended(self) -> bool:
        """Whether it has, and is reaped."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """It does not go by itself: somebody has stopped it."""
        self._process.kill()

    def close(self) -> None:
        """It has ended: let go of our end."""
        self._socket.close()


def _begin(descriptor: int, page: int, lifeline: int) -> int:
    main(descriptor, page, lifeline)
    return 0


def main(descriptor: int, page: int, lifeline: int) -> None:
    """Be a sentinel, on one end of its keeper's socketpair, until there is nothing left to watch."""
    end = socket.socket(fileno=descriptor)
    end.setblocking(False)
    watch = Watch(end, Page(page), lifeline)
    watch.leave_group()
    for number in (*STOPS, *_JOB_CONTROL):
        is_told = number in (signal.SIGINT, signal.SIGTERM)
        signal.signal(number, watch.pass_on if is_told else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _come_first()
    watch.run()
    os._exit(0)


def _come_first() -> None:
    """After a pause of the whole machine we run before Terraform does, where we may say so."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


class Watch:
    """What a sentinel does: by the keeper's words, by their end, and by the page and the clock."""

    def __init__(self, end: socket.socket, page: Page, lifeline: int) -> None:
        self._end = end
        self._page = page
        self._lifeline = lifeline
        self._is_keeper_gone = False
        self._parent = os.getppid()
        self._relatives = Relatives(None, 0)
        self._outputs = Outputs()
        self._held: list[int] = []
        self._frozen_at: float | None = None
        self._left_alone_at: float | None = None
        self._beside = 0

    def leave_group(self) -> None:
        """Be in no group of anybody's; where there may be one to join, in the session in which it is."""
        if self._page.group:
            os.setpgid(0, 0)
        else:
            os.setsid()

    def pass_on(self, number: int, _frame: object) -> None:
        """Somebody signals us: the keeper may make something of it."""
        with contextlib.suppress(OSError):
            self._end.send(_HEARD.pack(number, self._beside))

    def run(self) -> None:
        """Watch until told to end, or, without a keeper, until the program is gone."""
        while True:
            if self._end in self._wait() and self._is_dismissed():
                return
            program = self._page.program()
            pid = program.pid if program is not None else 0
            self._stand_beside(pid)
            self._relatives = Relatives(self._page.kin, pid, is_scattered=True)
            if (pid and not family.is_gone(pid)) or self._relatives.left():
                self._enforce(pid, time.clock_gettime(_BOOTTIME))
            elif self._is_keeper_gone:
                if self._has_ended():
                    self._page.remove_folder()
                return
            else:
                self._frozen_at = None

    def _stand_beside(self, pid: int) -> None:
        """Be in the terminal's group while this program, which is in it already, runs; in none if that is 0."""
        if not self._page.group or pid == self._beside:
            return
        # What has come by now counts for the program before this one, if there was any.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        self._beside = 0
        with contextlib.suppress(OSError):  # The group may have gone, with all who were in it.
            os.setpgid(0, self._page.group if pid else 0)
            self._beside = pid
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _wait(self) -> list[socket.socket | int]:
        """Wait for a tick, or until the keeper speaks or nobody but us is left: the kernel may have thawed it then."""
        ends: list[socket.socket | int] = [] if self._is_keeper_gone else [self._end]
        if self._lifeline >= 0 and self._left_alone_at is None:
            ends.append(self._lifeline)
        if ends:
            return select.select(ends, [], [], _TICK_SECONDS)[0]
        time.sleep(_TICK_SECONDS)
        return []

    def _is_dismissed(self) -> bool:
        """Follow the keeper's words. Its end is never an error, however it comes."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, 64, 8)
        except BlockingIOError:
            return False
        except OSError:
            data, descriptors = b"", []
        if _HOLD in data or descriptors:
            self._hold(descriptors)
        self._is_keeper_gone = not data
        return _QUIT in data

    def _hold(self, descriptors: list[int]) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held = descriptors
        self._outputs = Outputs([each for each in descriptors if stat.S_ISFIFO(os.fstat(each).st_mode)])

    def _enforce(self, pid: int, now: float) -> None:
        self._freeze_or_thaw(now)
        if os.getppid() != self._parent:  # Its end of the socket may be held by whom it was about to start.
            self._is_keeper_gone = True
        if self._is_keeper_gone:
            if pid and self._page.claim_signal():
                family.interrupt(pid)
            self._outputs.drain_unread()
            self._end_what_is_left_alone(now)

    def _freeze_or_thaw(self, now: float) -> None:
        if now < self._page.safe_until:
            if self._frozen_at is not None:  # A beat has landed after all: ours to undo, whoever else does.
                self._frozen_at = None
                self._relatives.thaw()
            return
        if self._frozen_at is None:
            self._frozen_at = now
        self._relatives.freeze()  # Again at each tick: a stranger's SIGCONT undoes it.
        if now - self._frozen_at >= self._page.freeze_timeout:
            self._relatives.kill()

    def _end_what_is_left_alone(self, now: float) -> None:
        """Front and keepers are all gone: nobody can thaw it, and nobody waits for it longer than a keeper would."""
        if not self._has_ended():
            return
        if self._left_alone_at is None:
            self._left_alone_at = now
        if self._frozen_at is not None or now - self._left_alone_at >= _LONGEST_SECONDS:
            self._relatives.kill()

    def _has_ended(self) -> bool:
        return self._lifeline >= 0 and bool(select.select([self._lifeline], [], [], 0)[0])


class Outputs:
    """The read ends of the program's pipes, which somebody else reads, or nobody."""

    def __init__(self, descriptors: Sequence[int] = ()) -> None:
        self._seen = dict.fromkeys(descriptors, (0, time.monotonic()))

    def drain_unread(self) -> None:
        """Read what nobody has read for a while, so that the program does not block on a full pipe."""
        for descriptor, (before, since) in self._seen.items():
            with contextlib.suppress(OSError):
                pending = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
                if pending and pending == before and time.monotonic() - since > _UNREAD_SECONDS:
                    os.read(descriptor, pending)
                elif pending != before:
                    self._seen[descriptor] = (pending, time.monotonic())
