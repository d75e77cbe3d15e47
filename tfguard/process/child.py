"""The Terraform process, as its parent sees it: start, exit status. What is done to it and its own: `family`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from typing import Protocol

from tfguard.process import bare, family, fork, shim
from tfguard.process.inherited import STOPS
from tfguard.process.page import Page
from tfguard.process.relatives import Kin
from tfguard.process.standby import Standby, Start


class Process(Protocol):
    """What the keeper needs of a child, its own or an inherited one."""

    pid: int

    def has_ended(self) -> bool:
        """Whether it has ended; its PID stays its own until `poll` has said so."""
        ...

    def poll(self) -> int | None:
        """Return the exit status (-n: signal n) once the process is gone."""
        ...


class Child:
    """A child of ours, known to front and sentinel from before its exec."""

    def __init__(self, how: Start, page: Page, kin: Kin | None = None, standby: Standby | None = None) -> None:
        """
        Start it; `page` is where it enters itself, `kin` how its relatives are known, `standby` who becomes it if that
        still can. Raises OSError.
        """
        page.clear()
        if kin is not None:
            page.await_kin(kin)
        became = standby.become(how) if standby is not None else None
        self._process: subprocess.Popen[bytes] | fork.Forked = became or _start(how, page)
        self.pid = self._process.pid
        page.enter(self.pid)  # As it does itself, perhaps later: a sentinel that is told to look now is to find it.

    def has_ended(self) -> bool:
        return has_ended(self.pid)

    def poll(self) -> int | None:
        return self._process.poll()


def _start(how: Start, page: Page) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = how.stdio
    with _born_to_hear(how.group):
        return subprocess.Popen(
            bare.command("shim", how.group, os.getpid(), page.descriptor, words=[shim.written(how.handed), *how.argv]),
            pass_fds=[page.descriptor, *how.handed.values()],
            cwd=how.directory,
            env=dict(how.environ),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


@contextlib.contextmanager
def _born_to_hear(group: int) -> Iterator[None]:
    """
    What is started meanwhile loses no signal that asks it to stop, from its first instant on.

    It is born with them blocked, so that they wait for it: the shim unblocks them. And it is born in `group` (0: ours),
    so that what the terminal sends to that group reaches it: for a moment we are of that group too, which costs us
    nothing, for we hear these signals and go on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        with _member_of(group):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _member_of(group: int) -> Iterator[None]:
    ours = os.getpgrp()
    if group in (0, ours):
        yield
        return
    with contextlib.suppress(OSError):  # The front has gone, and its group with it: the shim says so.
        os.setpgid(0, group)
    try:
        yield
    finally:
        os.setpgid(0, ours)


class AdoptedChild:
    """A child that the front has inherited from a dead keeper: the front reaps it, we watch and signal it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_reaped = False
        try:
            self._handle = os.pidfd_open(pid)  # Needs no /proc, and is never another's.
        except (OSError, AttributeError):
            self._handle = -1
        self._started_at = family.started_at(pid)

    def has_ended(self) -> bool:
        return self.is_reaped or not self._is_running()

    def poll(self) -> int | None:
        """0 once it is gone: its real status is the front's to know."""
        if not self.is_reaped and self._is_running():
            return None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self.is_reaped = True
        return 0

    def _is_running(self) -> bool:
        if self._handle >= 0:
            return not select.select([self._handle], [], [], 0)[0]
        return not family.is_gone(self.pid) and family.started_at(self.pid) == self._started_at


def has_ended(pid: int) -> bool:
    """Whether a child of this process has ended. It is not reaped, so its PID is nobody else's yet."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def let_go_of_stdio(null: int) -> None:
    """
    Let go of the terminal or the CI's pipe: whoever holds it open keeps the job's step from ending. `null` is a
    descriptor of /dev/null: when it is needed, none may be free any more.
    """
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
