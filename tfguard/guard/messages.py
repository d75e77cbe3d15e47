"""
What front and keeper say to each other: one JSON object a line over a socketpair, file descriptors beside them.

Secrets (backend credentials, environments) travel here and nowhere else: never on a command line.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
from typing import Any, Literal, Union

import msgspec

from tfguard.jobfiles.run_record import RunRecord
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder, LocalSpec, LockRecord, S3Spec, Target

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
    takeover: Literal["always", "plan-only", "never"]
    is_changing: bool
    environ: dict[str, str]
    nested_id: str = ""
    run_timeout_seconds: float | None = None
    orphan_timeout_seconds: float = 1800.0
    record: RunRecord | None = None
    record_path: str = ""
    rescue: Rescue | None = None
    ignores_errored: bool = False
    order: Literal["fifo", "none"] = "fifo"
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


class Release(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run is over: release, write history, go. Answered by Released."""

    outcome: str
    exit_code: int | None = None


# --- keeper → front -------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The keeper is up and has imported what it needs."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    The lock is busy. `seen_seconds`: how long the record has shown no new heartbeat; `expires_in_seconds` until it
    may be taken over, None if never; `remaining_seconds` until we give up. `is_free`: it could be had, and is left
    to those ahead of us. We are in place `place` (1: next) of a line
    of `length`, 0 where there is none; `usual_seconds` is for how long the last runs held the lock, if that is known.
    """

    record: LockRecord | None
    seen_seconds: float
    expires_in_seconds: float | None
    remaining_seconds: float
    trouble: str = ""
    is_free: bool = False
    place: int = 0
    length: int = 0
    usual_seconds: float | None = None


class Trying(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: this lock ID is about to be written, for the first time at `base` (boottime)."""

    lock_id: str
    base: float


class Held(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    The lock is ours. `dead` is the record of the holder from whom we took it over; `runs` are those before, if asked.

    A local lock's file descriptor comes with it: the front holds it too, in case the keeper dies.
    """

    lock_id: str
    beat: int
    base: float
    token: int = 0
    waited_seconds: float = 0.0
    dead: LockRecord | None = None
    is_nested: bool = False
    credentials_expire_at: str = ""
    runs: tuple[Run, ...] = ()


class Beaten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: this beat has landed; the lease counts from `base`."""

    beat: int
    base: float


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


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """We no longer have the lease: *gone*, *another's* (whose: `record`), or *expired*."""

    kind: Literal["gone", "another's", "expired"]
    record: LockRecord | None = None


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


class Releasing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: from now on an absent record is success."""


class Released(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The end. `result` as in `lease.ReleaseResult`, `failed` (with `error`), or `nothing` to release."""

    result: Literal["released", "gone", "another's", "failed", "nothing"]
    held_seconds: float = 0.0
    heartbeats: int = 0
    error: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    We could not get the lock. `kind` names the class of `errors`, or one of *busy*, *takeover-refused*,
    *no-workspace*, *unlisted*, *interrupted*, *errored* (`message`: where a former run's unsaved state is).
    """

    kind: str
    message: str
    record: LockRecord | None = None
    seen_seconds: float = 0.0
    waited_seconds: float = 0.0


ToKeeper = Union[Acquire, Adopt, Spawn, Interrupt, ChildHeard, ChildGone, Release]
ToFront = Union[
    Ready, Waiting, Trying, Held, Beaten, Started, Exited, Told, Lost, Pushing, Rescued, DigestDiffers, Releasing,
    Released, Failed,
]  # fmt: skip


class Channel:
    """
    One end of the socketpair: whole messages out, whole messages in, descriptors in the order they were sent.

    One thread receives, any may send. `send` never raises: whether the other end lives is learnt by reading.
    """

    def __init__(self, end: socket.socket, incoming: Any) -> None:
        self.socket = end
        self.is_open = True
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(incoming)
        self._encoder = msgspec.json.Encoder()
        self._buffer = b""
        self._descriptors: list[int] = []
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: ToKeeper | ToFront, descriptors: list[int] | None = None) -> None:
        """Send one message, with descriptors if there are any (they stay open here)."""
        line = self._encoder.encode(message) + b"\n"
        with self._sending, contextlib.suppress(OSError):
            if descriptors:
                sent = socket.send_fds(self.socket, [line], descriptors)
                line = line[sent:]
            self.socket.sendall(line)

    def receive(self) -> list[Any]:
        """Read once (blocking if nothing is there) and give the messages now complete; sets `is_open` at the end."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(64))
        except InterruptedError:
            return []
        except OSError:
            data, ancillary = b"", []
        self._descriptors += _descriptors_of(ancillary)
        if not data:
            self.is_open = False
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [self._decoder.decode(line) for line in lines]

    def take_descriptors(self, count: int) -> list[int]:
        """Give the oldest `count` descriptors received, now the caller's to close."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        """Close this end; the other end reads end-of-file."""
        self.is_open = False
        self.socket.close()


def _descriptors_of(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return list(found)
