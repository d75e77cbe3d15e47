"""Runs that hold a lock, and ways to end them: what the operator's tests start from."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.e2e.conftest import Stage
from tests.support import trees
from tests.support.eventually import eventually, patience

#: A run may hold the lock for so long, at most.
HELD = {"TF_VAR_hold": "120"}


@contextmanager
def guarded(made: Stage, *options: str, lease: str = "12s", **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A tfguard's apply that holds the lock until it is ended, with a lease that a test can wait for."""
    words = (*options, "apply", "-auto-approve")
    with _running(made, lambda: made.start_tfguard(*words, **HELD, TFGUARD_LOCK_LEASE=lease, **environ)) as process:
        yield process


@contextmanager
def plain(made: Stage, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """The same of a plain Terraform."""
    words = ["terraform", "apply", "-auto-approve"]
    with _running(made, lambda: made.start(words, **HELD, **environ)) as process:
        yield process


@contextmanager
def _running(made: Stage, start: Callable[[], subprocess.Popen[str]]) -> Iterator[subprocess.Popen[str]]:
    begun = made.log_lines().count("begin")
    process = start()
    try:
        made.wait_for_log("begin", begun + 1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=patience(10))


def kill_all_of(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all that it started: a run's front, its keeper, Terraform."""
    front = psutil.Process(process.pid)
    tree: list[psutil.Process] = []
    newborn = [front]
    while newborn:
        trees.suspend(newborn)  # Nobody is to notice the death of another and act on it.
        tree += newborn
        newborn = [each for each in front.children(recursive=True) if each not in tree]
    trees.kill(tree)
    process.communicate(timeout=patience(10))


def kill_front_of(process: subprocess.Popen[str]) -> None:
    """SIGKILL the front alone."""
    process.kill()
    process.communicate(timeout=patience(10))


def keeper_of(front: int) -> psutil.Process | None:
    """The keeper that lives below the front with this PID, if there is one now."""
    for each in psutil.Process(front).children():
        with suppress(psutil.Error):
            if "tfguard-keeper" in each.cmdline():
                return each
    return None


def kill_keeper_of(front: int) -> None:
    """SIGKILL the keeper that lives, once there is one, and wait until it does no more."""
    keeper = eventually(lambda: keeper_of(front), 20, "a keeper")
    keeper.kill()
    eventually(lambda: keeper_of(front) != keeper, 10, "the keeper's death")


def kill_guards_of(process: subprocess.Popen[str]) -> None:
    """SIGKILL front and keeper at once, and leave Terraform alone."""
    front = psutil.Process(process.pid)
    keeper = keeper_of(process.pid)
    assert keeper is not None
    for each in (front, keeper):
        each.suspend()
    for each in (front, keeper):
        each.kill()
    process.communicate(timeout=patience(10))
