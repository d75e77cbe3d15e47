"""
A program's relatives: who descends from it, and has lost its parent since. Standard library only.

Who loses its parent becomes a child of the keeper, which is a subreaper: under a living keeper, parentage tells. Only
what other programs have left behind there has to be told apart, and after a keeper's death the front inherits all of
it. So each program gets a `TFGUARD_NEST` of its own, which those that descend from it extend or hand on unchanged. Who
shows none (an environment of its own, another user) counts as a relative where its parents say so: it may write.

The nest also names the file whose lock lets the tfguards inside one program take turns: see `nest`.

Not promised: without /proc (macOS) there are no subreapers, and nobody is known by its environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tfguard.process import bare, family

NEST = "TFGUARD_NEST"
#: What we give a Terraform that writes the state under our lock, or under one of its own that we free after it.
_WITHOUT_LOCK = b"-lock=false"
_OWN_LOCK = b"-lock-timeout="
#: Who forks while it is stopped or killed is looked for again, this often at most.
_ROUNDS = 5
_MAX_BYTES = 1 << 21


class Kin(NamedTuple):
    """How relatives are known, and who of them counts: *all*, or *writers*. *nobody* is waited for; all are stopped."""

    nest: str
    waits_for: str


class Mark(NamedTuple):
    """One process, told apart from a later one of its PID."""

    pid: int
    started_at: int


def new_nest(environ: Mapping[str, str]) -> str:
    """Name the nest of a program that is about to start with this environment: inside the one that we are in."""
    own = os.urandom(5).hex()
    outer = environ.get(NEST, "")
    return f"{outer}.{own}" if outer else os.path.join(_nests(environ), own)


def nest_around(environ: Mapping[str, str]) -> str:
    """
    Name the nest that we are in; where that has been lost on the way, the one of all who are under that lock.

    Empty outside of any tfguard.
    """
    lock_id = environ.get("TFGUARD_LOCK_ID", "")
    if not lock_id:
        return ""
    if environ.get(NEST):
        return environ[NEST]
    import hashlib  # Slow to import, and rarely needed.

    unknown = hashlib.sha256(lock_id.encode("utf-8", "surrogateescape")).hexdigest()[:20]
    return os.path.join(_nests(environ), unknown)


def is_within(nest: str, found: str) -> bool:
    """Whether who shows the nest `found` descends from the program of `nest`."""
    return found == nest or found.startswith(f"{nest}.")


class Relatives:
    """
    One program with its relatives, seen from its keeper or its front. `kin` None: it has none that matter.

    `program` may have ended, and is 0 where nobody knows it any more. `parents`: whose children those are that have
    lost their own parent, the keeper first; `strangers` are those that earlier programs have left there.
    `is_scattered`: the keeper is dead, so they may be anywhere.
    """

    def __init__(
        self,
        kin: Kin | None,
        program: int,
        parents: Iterable[int] = (),
        *,
        strangers: frozenset[Mark] = frozenset(),
        is_scattered: bool = False,
    ) -> None:
        self._kin = kin
        self._program = program
        self._parents = tuple(parents)
        self._strangers = strangers
        self._is_scattered = is_scattered

    def left(self) -> list[int]:
        """Who runs on after the program has ended, and has to be waited for."""
        if self._kin is None or self._kin.waits_for == "nobody":
            return []
        try:  # Who forks and ends while we look may be missed; not twice.
            return self._look() or self._look()
        except OSError:  # No descriptor is free, say. Whom we cannot look for may be there.
            return [self._program]

    def interrupt(self) -> bool:
        """The program has ended: send one SIGINT to each that has nobody of them above it. Whether any was sent."""
        sent = [family.interrupt(pid) for pid in self.heads()]  # To all of them, not up to the first.
        return any(sent)

    def freeze(self) -> list[int]:
        """Stop the program, its relatives and their own; return those that run all the same. As `family.freeze`."""
        running = family.freeze(self._program) if self._program else []
        self._for_each(lambda pid: running.extend(family.freeze(pid)))
        return running

    def thaw(self) -> None:
        """Let all of them go on."""
        for pid in (*self.heads(), *([self._program] if self._program else ())):
            family.thaw(pid)

    def kill(self) -> None:
        """SIGKILL all of them."""
        if self._program:
            family.kill(self._program)
        self._for_each(family.kill)

    def highest_pid(self) -> int:
        """The highest PID of any of them."""
        return max(max(family.tree(pid)) for pid in (self._program, *self.heads()))

    def heads(self) -> list[int]:
        """Who of them has lost its parent, as far as we can look; of Terraform's, who writes without a lock."""
        with contextlib.suppress(OSError):
            return self._look()
        return []

    def _look(self) -> list[int]:
        kin = self._kin
        if kin is None:
            return []
        heads = [pid for pid in self._orphans(kin) if self._may_belong(pid, kin)]
        if kin.waits_for != "writers":
            return heads
        return [pid for head in heads for pid in family.tree(head) if _is_writer(pid)]

    def _for_each(self, act: Callable[[int], None]) -> None:
        done: set[int] = set()
        for _ in range(_ROUNDS):
            fresh = [pid for pid in self.heads() if pid not in done]
            if not fresh:
                return
            for pid in fresh:
                act(pid)
            done.update(fresh)

    def _orphans(self, kin: Kin) -> list[int]:
        orphans = [pid for parent in self._parents for pid in children_of(parent)]
        if not self._is_scattered:
            return orphans
        known = {self._program, *(each for pid in orphans for each in family.tree(pid))}
        others = {pid for pid in _pids() if pid not in known and is_within(kin.nest, nest_of(pid) or "")}
        below = {self._program, *others}
        return orphans + [
            pid for pid in others if (found := family.stat(pid)) is not None and found.parent not in below
        ]

    def _may_belong(self, pid: int, kin: Kin) -> bool:
        if pid in (self._program, os.getpid(), *self._parents) or family.is_gone(pid) or self._is_helper(pid):
            return False
        if self._strangers and Mark(pid, family.started_at(pid)) in self._strangers:
            return False
        shown = nest_of(pid)
        return not _is_unborn(pid) if shown is None else is_within(kin.nest, shown)

    def _is_helper(self, pid: int) -> bool:
        """Whether it is a sentinel, or what the lease's thread has started: that is in the keeper's group."""
        with contextlib.suppress(ProcessLookupError):
            is_sentinel = bare.name_in(_words(pid, "cmdline")) == b"tfguard-sentinel"
            return is_sentinel or os.getpgid(pid) in self._parents[:1]
        return False


def _is_unborn(pid: int) -> bool:
    """Whether a keeper has forked it, and it has yet to become what it is to be: till then it looks like its keeper."""
    with contextlib.suppress(ProcessLookupError):
        return bare.name_in(_words(pid, "cmdline")) == b"tfguard-keeper"
    return False


def is_any_left(kin: Kin) -> bool:
    """Whether anybody who has to be waited for shows this nest: for one who has no other way to know."""
    return bool(Relatives(kin, 0, is_scattered=True).left())


def children_now() -> frozenset[Mark]:
    """Our children as they are: what will not be of a program that starts afterwards."""
    with contextlib.suppress(OSError):
        return frozenset(Mark(pid, family.started_at(pid)) for pid in children_of(os.getpid()))
    return frozenset()


def nest_of(pid: int) -> str | None:
    """Which nest a process shows; None if it shows none, or not to us."""
    name = NEST.encode() + b"="
    shown = (word[len(name) :] for word in _words(pid, "environ") if word.startswith(name))
    found = next(shown, None)
    return None if found is None else os.fsdecode(found)


def reap_orphans(ours: Iterable[int], *, is_ours: Callable[[int], bool] = lambda _: False) -> None:
    """
    Reap the children that we have inherited and that have ended. `ours` are those whose end somebody of us waits for,
    and those that `is_ours` knows.

    Never whoever comes first: the exit status of a process of ours would be gone.
    """
    with contextlib.suppress(OSError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        kept = set(ours)
        for pid in children_of(os.getpid()):
            if pid not in kept and not is_ours(pid) and family.is_gone(pid):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def children_of(pid: int) -> list[int]:
    """The children of a process, its zombies included. Raises OSError where that cannot be looked at now."""
    found: list[int] = []
    if os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        return found
    return [each for each in family.tree(pid)[1:] if (seen := family.stat(each)) is not None and seen.parent == pid]


def _pids() -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    return []


def _is_writer(pid: int) -> bool:
    words = _words(pid, "cmdline")
    is_ours = _WITHOUT_LOCK in words or any(word.startswith(_OWN_LOCK) for word in words)
    return is_ours and not family.is_gone(pid)


def _words(pid: int, what: str) -> list[bytes]:
    return _read(f"/proc/{pid}/{what}").split(b"\0")


def _read(path: str) -> bytes:
    """Read what the kernel tells of a process; nothing if it is gone, or another user's. Raises OSError otherwise."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError), open(path, "rb") as file:
        return file.read(_MAX_BYTES)
    return b""


def _nests(environ: Mapping[str, str]) -> str:
    """A folder of ours that all who run inside us find in the name of their nest, whatever they make of HOME."""
    home = environ.get("HOME", "")
    caches = (environ.get("XDG_RUNTIME_DIR"), environ.get("XDG_CACHE_HOME"), home and os.path.join(home, ".cache"))
    for place in filter(None, caches):
        existing = place if os.path.isdir(place) else os.path.dirname(place)
        if os.path.isabs(place) and os.access(existing, os.W_OK | os.X_OK):
            return os.path.join(place, "tfguard", "nests")
    import tempfile  # Slow to import, and rarely needed.

    return os.path.join(tempfile.gettempdir(), f"tfguard-{os.getuid()}", "nests")
