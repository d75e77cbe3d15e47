"""To stop, continue or kill a whole tree of processes, some of which may end by themselves meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import psutil


def suspend(tree: Iterable[psutil.Process]) -> None:
    _do(psutil.Process.suspend, tree)


def resume(tree: Iterable[psutil.Process]) -> None:
    _do(psutil.Process.resume, tree)


def kill(tree: Iterable[psutil.Process]) -> None:
    _do(psutil.Process.kill, tree)


def named(tree: Iterable[psutil.Process], name: str) -> list[psutil.Process]:
    """Those of this name that have not ended."""
    found = []
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [each] if each.name() == name else []
    return found


def _do(act: Callable[[psutil.Process], None], tree: Iterable[psutil.Process]) -> None:
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):  # What a program starts for a moment is over by now.
            act(each)
