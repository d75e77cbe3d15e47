"""
Starting the keeper: the first thing that a run does, before anything of ours but the table of commands is imported.

The keeper's start is what a run waits for (Python, our modules, a client), and everything that the front does meanwhile
costs no time. Standard library only. If no keeper turns out to be needed, it is dismissed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfguard.process import inherited
from tfguard.process.page import Page
from tfguard.process.terminal import is_foreground
from tfguard.terraform.commands import COMMANDS

#: Whatever looks for a job's leftovers by these would SIGKILL a Terraform that is still saving its state.
TRACKING_VARIABLES = (
    "RUNNER_TRACKING_ID",
    "VSTS_PROCESS_LOOKUP_ID",
    "JENKINS_NODE_COOKIE",
    "JENKINS_SERVER_COOKIE",
    "HUDSON_COOKIE",
)
#: As `ci.comment_token` has it, which takes it out of the front's own environment as well.
COMMENT_TOKEN = "TFGUARD_COMMENT_TOKEN"  # noqa: S105 - a name  # nosec B105
#: Commands that will take a lock, unless something unusual stands beside them.
_LIKELY = frozenset({"run", "exec"}) | {row.name for row in COMMANDS.values() if row.takes_lock and " " not in row.name}
#: The command stands among these: behind our options.
_FIRST_WORDS = 8
#: What it imports is never garbage: looking for some meanwhile takes a fifth of its start. `lease_thread` ends that.
_KEEPER = (
    "import gc, sys; gc.disable(); sys.path.append(sys.argv[2]); from tfguard.process.keeper import main;"
    " main(*map(int, sys.argv[3:6]))"
)


@dataclass
class Launched:
    """A keeper that has been started, our end of the socket to it, and the page that we share."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    page: Page


_early: Launched | None = None
#: A pipe into which nobody writes. Front and keepers hold its writing end, so it ends when none of them is left.
_lifeline: tuple[int, int] | None = None
#: One page for all the keepers of a front, so that a successor finds there what its predecessor knew.
_page: Page | None = None


def launch_early(words: Sequence[str]) -> None:
    """Start a keeper if this command line looks as if it needed one; `take` hands it out."""
    global _early
    ours = list(words[:_FIRST_WORDS])
    if not _LIKELY.isdisjoint(ours[: ours.index("--")] if "--" in ours else ours):
        _early = _launch(os.environ)


def take(environ: Mapping[str, str]) -> Launched:
    """Return the keeper started early, or start one."""
    global _early
    early, _early = _early, None
    return early or _launch(environ)


def dismiss() -> None:
    """No keeper is needed: leave no process behind, for we may be about to become Terraform."""
    global _early
    if _early is not None:
        _early.socket.close()
        _early.process.kill()
        _early.process.wait()
        _early = None
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited.found().blocked)


def without_tracking(environ: Mapping[str, str]) -> dict[str, str]:
    """
    The environment, less what CI runners find leftover processes by, and less a variable without a name.

    Less the token of the job's comment, too: whoever asks the system sees what a process was started with.
    """
    others = (*TRACKING_VARIABLES, COMMENT_TOKEN)
    return {name: value for name, value in environ.items() if name and name not in others}


def _launch(environ: Mapping[str, str]) -> Launched:
    # Blocked from here on: what comes before the front listens stays pending, and the keeper is not born to die of it.
    signal.pthread_sigmask(signal.SIG_BLOCK, inherited.STOPS)
    try:
        return _start(environ)
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited.found().blocked)
        raise


def _start(environ: Mapping[str, str]) -> Launched:
    global _lifeline, _page
    _lifeline = _lifeline or os.pipe()
    _page = _page or Page.create()
    _page.group = os.getpgrp() if is_foreground() else 0  # For a sentinel that is forked before the front has begun.
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-X", "utf8", "-c", _KEEPER),
                *("tfguard-keeper", str(Path(__file__).resolve().parents[2])),
                *(str(end) for end in (theirs.fileno(), _page.descriptor, *_lifeline)),
            ],
            env=without_tracking(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), _page.descriptor, *_lifeline],
        )
    return Launched(process, ours, _page)
