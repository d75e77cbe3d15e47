"""
What front and keeper say to each other: one JSON object a line over a socketpair, file descriptors beside them.

Secrets (backend credentials, environments) travel here and nowhere else: never on a command line.
"""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from tfguard.backends.target import Target
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.protocol import Adoption, LockRequest, LockTerms, Release, Word

# --- front → keeper -------------------------------------------------------------------------------------------------


class Rescue(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    How to push a state that Terraform could not save: `argv` and the file, started in `current`.

    `directory` is where Terraform leaves that file. `argv` empty: it is not to be pushed, only kept.
    """

    directory: str
    current: str
    argv: list[str]
    environ: dict[str, str]


class Acquire(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Take the lock, waiting up to its timeout. Answered by Held, or by Failed.

    `environ` becomes the keeper's, so that credentials resolve as the child's do. `record` is a `RunRecord`,
    packed, for only the keeper's writer of it reads it (empty: none is to be kept); it is kept in `record_path`, for
    `settle`.
    """

    lock: LockRequest
    target: Target
    environ: dict[str, str]
    rescue: Rescue | None = None
    record: str = ""
    record_path: str = ""

    @property
    def terms(self) -> LockTerms:
        """How the lock is to be taken and held."""
        return self.lock.terms

    def deadlines(self) -> Deadlines | None:
        """The deadlines of this lock, None where the kernel ends it together with its holder."""
        return self.target.deadlines(self.terms.lease_seconds)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """
    A program and all that descends from it. `nest` is its TFGUARD_NEST, by which they are known.

    Whose end counts as the program's end, beside its own: `waits_for` *all*, or those *writers* that write the state
    under our lock and none of their own, as a Terraform that has outlived its wrapper does. `may_detach`: nobody's.
    """

    nest: str
    waits_for: Literal["all", "writers"] = "writers"
    may_detach: bool = False


class Relative(msgspec.Struct, frozen=True, kw_only=True):
    """Who has outlived the program from which it descends. `name` is without arguments: they may be secret."""

    name: str
    pid: int


class Adopt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Take over from a keeper that died: the request it worked on, and how far it had come.

    `child` is the process that the front has inherited, 0 if there is none. `errored_before`: the stamp of what lay
    where an errored state would, before the run's first program; None if none was started.
    """

    acquire: Acquire
    lock: Adoption
    child: int = 0
    is_interrupted: bool = True
    errored_before: str | None = None


class Spawn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Start a program under the lock. Answered by Started, then Exited.

    Three descriptors come with it (stdin, stdout, stderr of the child), then, for each stream named in `relayed`,
    the read end that the front relays, so that we can drain it if the front dies; then, for each number in `handed`,
    what the child is to have open under that number. `group`: the process group to join, 0 for a session of its own.
    `environ` has the nest of `family`.
    """

    argv: list[str]
    directory: str
    environ: dict[str, str]
    family: Family | None = None
    group: int = 0
    relayed: list[Literal["stdout", "stderr"]] = []
    handed: list[int] = []


class Interrupt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Stop: give up waiting, or send the child its one SIGINT.

    `is_delivered`: the terminal has given it one already. `grace_seconds`: whoever signalled us may have signalled
    the child too; wait that long for its "Interrupt received" first.
    """

    reason: str
    is_delivered: bool = False
    grace_seconds: float = 0.0


class ChildHeard(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child said "Interrupt received": it has had its signal, from whomever."""


class ChildGone(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The front has reaped the child that a successor keeper watches."""


# --- keeper → front -------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The keeper is up and has imported what it needs."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child runs."""

    pid: int


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child is gone. `status`: its exit status, -n if signal n ended it."""

    status: int


#: What a keeper has done or found, by the name under which it is logged.
Event = Literal[
    "lease.warned",
    "child.signalled",
    "child.frozen",
    "child.thawed",
    "child.unstoppable",
    "child.frozen_too_long",
    "child.killed",
    "child.unkillable",
    "run.timed_out",
    "keeper.broken",
    "family.awaited",
    "family.killed",
]


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that a person should hear of: an event, and its facts. `left`: who is still there."""

    event: Event
    reason: str = ""
    silence_seconds: float = 0.0
    error: str = ""
    left: tuple[Relative, ...] = ()


class Pushing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A push of a state that Terraform could not save runs under this PID; 0: it has ended."""

    pid: int


ToKeeper = Union[Acquire, Adopt, Spawn, Interrupt, ChildHeard, ChildGone, Release]
ToFront = Union[Word, Ready, Started, Exited, Told, Pushing]
