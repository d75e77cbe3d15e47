"""
What front and keeper say to each other: one JSON object a line over a socketpair, file descriptors beside them.

Secrets (backend credentials, environments) travel here and nowhere else: never on a command line.
"""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from tfguard.backends.aws.spec import S3Spec
from tfguard.backends.target import LocalSpec, Target
from tfguard.jobfiles.run_record import RunRecord
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.protocol import (
    ORPHAN_TIMEOUT_SECONDS,
    Beaten,
    Failed,
    Held,
    Lost,
    Order,
    Release,
    Released,
    Releasing,
    TakeoverPolicy,
    Trying,
    Waiting,
)
from tfguard.lock.store import Holder

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
    Take the lock, waiting up to `timeout_seconds` (0: one try). Answered by Held, or by Failed.

    `environ` becomes the keeper's, so that credentials resolve as the child's do. `nested_id`: our parent's lock ID,
    if it still holds this lock, is enough. `ticket` names us in the line, the same for a successor of the keeper's.
    `record` is kept in `record_path`, for `settle`. `ignores_errored`: a state that a former run could not save is
    no reason to refuse. `wants_history`: Held is to tell of the runs before.
    """

    target: Target
    holder: Holder
    operation: str
    info: str
    who: str
    version: str
    lease_seconds: float
    timeout_seconds: float
    takeover: TakeoverPolicy
    is_changing: bool
    environ: dict[str, str]
    nested_id: str = ""
    run_timeout_seconds: float | None = None
    orphan_timeout_seconds: float = ORPHAN_TIMEOUT_SECONDS
    record: RunRecord | None = None
    record_path: str = ""
    rescue: Rescue | None = None
    ignores_errored: bool = False
    order: Order = "fifo"
    ticket: str = ""
    wants_history: bool = False

    def deadlines(self) -> Deadlines | None:
        """The deadlines of this lock, None where the kernel ends it together with its holder."""
        specs = self.target.stores
        if all(isinstance(spec, LocalSpec) for spec in specs):
            return None
        return Deadlines.of(self.lease_seconds, beats_are_objects=any(isinstance(spec, S3Spec) for spec in specs))


class Adopt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Take over from a keeper that died: the request it worked on, and how far it had come by its own journal.

    `stage` *trying*: the ID may be in the record. *held*: go on from beat + 2, counting from `base`. *releasing*: an
    absent record is success. `child` is the process that the front has inherited, 0 if there is none.
    `held_at`: since when the lock is held, after `waited_seconds`; 0 if it is not. `errored_before`: the stamp of what
    lay where an errored state would, before the run's first program; None if none was started.
    """

    acquire: Acquire
    stage: Literal["trying", "held", "releasing"]
    lock_id: str
    beat: int = 0
    base: float = 0.0
    token: int = 0
    child: int = 0
    is_interrupted: bool = True
    held_at: float = 0.0
    waited_seconds: float = 0.0
    errored_before: str | None = None


class Spawn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Start a program under the lock. Answered by Started, then Exited.

    Three descriptors come with it (stdin, stdout, stderr of the child), then, for each stream named in `relayed`,
    the read end that the front relays, so that we can drain it if the front dies. `group`: the process group to
    join, 0 for a group of its own.
    """

    argv: list[str]
    directory: str
    environ: dict[str, str]
    group: int = 0
    relayed: list[Literal["stdout", "stderr"]] = []


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


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that a person should hear of: an event, and its facts."""

    event: Literal[
        "lease.warned", "lease.recovered", "child.signalled", "child.frozen", "child.thawed", "child.killed",
        "run.timed_out", "release.failed", "keeper.broken",
    ]  # fmt: skip
    reason: str = ""
    silence_seconds: float = 0.0
    error: str = ""


class Pushing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A push of a state that Terraform could not save runs under this PID; 0: it has ended."""

    pid: int


class Rescued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    What became of a state that Terraform could not save.

    *pushed*: it is in the backend, the file has the name `path` now. *kept*: a copy is at `place`. *left*: only the
    file at `path` is. *lost*: so was the lock, and it was not pushed.
    """

    result: Literal["pushed", "kept", "left", "lost"]
    path: str
    place: str = ""
    error: str = ""


class DigestDiffers(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The state's MD5 is `actual`, though the item `item` in `table` says `stored`: Terraform will refuse it."""

    table: str
    item: str
    stored: str
    actual: str


ToKeeper = Union[Acquire, Adopt, Spawn, Interrupt, ChildHeard, ChildGone, Release]
ToFront = Union[
    Ready, Waiting, Trying, Held, Beaten, Started, Exited, Told, Lost, Pushing, Rescued, DigestDiffers, Releasing,
    Released, Failed,
]  # fmt: skip
