"""
What a lock's session is asked, what it needs of the world around it, and what it says.

Plain data: a request comes to the keeper over its socket, and most of what is said goes on to the front.
"""

from __future__ import annotations

from typing import Literal, Protocol, Union

import msgspec

from tfguard.lock.queue_record import Run
from tfguard.lock.refusals import Refusal
from tfguard.lock.store import Holder, LockRecord

#: Which runs may take over the lock of a dead holder; *plan-only*: see `acquire.may_take_over`.
TakeoverPolicy = Literal["always", "plan-only", "never"]
#: *fifo*: first come, first served. *none*: no line.
Order = Literal["fifo", "none"]
#: How long a child without a front may take to stop before it is killed.
ORPHAN_TIMEOUT_SECONDS = 1800.0
#: How long a child may stay frozen because nobody can tell whose the lock is.
FREEZE_TIMEOUT_SECONDS = 1800.0


class LockTerms(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a lock is to be taken and held, and for how long a run under it may go on. Times in seconds.

    `timeout_seconds`: how long to wait for it, 0 is one try.
    """

    timeout_seconds: float
    lease_seconds: float
    takeover: TakeoverPolicy = "always"
    order: Order = "fifo"
    run_timeout_seconds: float | None = None
    orphan_timeout_seconds: float = ORPHAN_TIMEOUT_SECONDS
    freeze_timeout_seconds: float = FREEZE_TIMEOUT_SECONDS


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    One lock that is wanted, on these terms, and what is written into its record.

    `path` is LockInfo.Path. `nested_id`: our parent's lock ID, if it still holds this lock, is enough; `nest` is then
    where we take turns with others inside it. `ticket` names us in the line, the same for a
    successor of the keeper's. `ignores_errored`: a state that a former run could not save is no reason to refuse.
    `wants_history`: Held is to tell of the runs before.
    """

    terms: LockTerms
    holder: Holder
    operation: str
    info: str
    who: str
    version: str
    path: str
    is_changing: bool
    nested_id: str = ""
    nest: str = ""
    ticket: str = ""
    ignores_errored: bool = False
    wants_history: bool = False


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far a keeper that died had come with a lock, by its own journal.

    `stage` *trying*: the ID may be in the record. *held*: go on from beat + 2, counting from `base`. *releasing*: an
    absent record is success. `held_at`: since when the lock is held, after `waited_seconds`; 0 if it is not.
    `is_nested`: the lock is our parent's, and ours is but a place in its nest. `force_unlock_id` as in `LockRecord`.
    `doubted_at`: as in `Doubted`, if it was.
    """

    stage: Literal["trying", "held", "releasing"]
    lock_id: str
    beat: int = 0
    base: float = 0.0
    token: int = 0
    held_at: float = 0.0
    waited_seconds: float = 0.0
    is_nested: bool = False
    force_unlock_id: str = ""
    doubted_at: float | None = None

    def loss(self, record: LockRecord | None) -> Lost | None:
        """Return how the lock that the dead keeper held was lost; None if this record shows it still."""
        if record is not None and record.id != self.lock_id:
            return Lost(kind="another's", record=record)
        # Beats only grow: if it shows less than had landed, it was unlocked, and its first write arrived again, late.
        if record is None or (record.lease is not None and record.lease.sent < self.base):
            return Lost(kind="gone")
        return None


class Release(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    The run is over: release, write history, go. Answered by Released.

    `may_have_left_lock`: a program of the run's may have ended without freeing the lock that it had taken by itself.
    """

    outcome: str
    exit_code: int | None = None
    may_have_left_lock: bool = True


class Surroundings(Protocol):
    """
    What a lock's holder has to know of the state, and of its workspace.

    Every method but `is_there` raises StoreUnavailable, StoreDenied, StoreMisconfigured.
    """

    def workspace_exists(self) -> bool:
        """
        Whether Terraform would find the workspace, or there is none to look for.

        Raises StoreDenied also where we may not list: Terraform then takes the workspace for missing.
        """
        ...

    def digest_mismatch(self) -> DigestDiffers | None:
        """Compare the state with its digest; None where they agree, or there is nothing to compare."""
        ...

    def keep_copy(self, path: str, lock_id: str) -> str:
        """Copy the file at `path` beside the state, and return where the copy is."""
        ...

    def is_there(self, place: str) -> bool:
        """Whether a copy that `keep_copy` made is still there; where that cannot be told, it is."""
        ...


class Sibling(msgspec.Struct, frozen=True, kw_only=True):
    """A tfguard that runs inside the same program as we do, under the same lock around us: who does what in it."""

    who: str
    command: str
    pid: int


class Nest(Protocol):
    """Where the tfguards inside one program take turns; the kernel ends the turn of one that dies."""

    #: Who was in it when we last looked, None if that is not known.
    ahead: Sibling | None

    def fileno(self) -> int:
        """The descriptor that carries our place, -1 if we are not in."""
        ...

    def try_enter(self) -> bool:
        """Go in if nobody else is. Raises StoreMisconfigured where turns cannot be taken at all."""
        ...

    def leave(self) -> None:
        """Let the next one in."""
        ...


# --- what is said ---------------------------------------------------------------------------------------------------


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    The lock is busy. `seen_seconds`: how long the record has shown no new heartbeat; `expires_in_seconds` until it
    may be taken over, None if never; `remaining_seconds` until we give up. `is_free`: it could be had, and is left
    to those ahead of us. We are in place `place` (1: next) of a line
    of `length`, 0 where there is none; `usual_seconds` is for how long the last runs held the lock, if that is known.
    `is_inside`: what we wait for is our turn inside the tfguard around us; `ahead` has it.
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
    is_inside: bool = False
    ahead: Sibling | None = None


class Trying(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: this lock ID is about to be written, for the first time at `base` (boottime)."""

    lock_id: str
    base: float


class Held(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    The lock is ours. `dead` is the record of the holder from whom we took it over; `runs` are those before, if asked.

    A local lock's file descriptor comes with it, or that of a place in a nest: the front holds it too, in case the
    keeper dies. `force_unlock_id` as in `LockRecord`.
    """

    lock_id: str
    beat: int
    base: float
    force_unlock_id: str = ""
    token: int = 0
    waited_seconds: float = 0.0
    dead: LockRecord | None = None
    is_nested: bool = False
    credentials_expire_at: str = ""
    runs: tuple[Run, ...] = ()

    @property
    def handle(self) -> str:
        """The ID by which Terraform knows the lock."""
        return self.force_unlock_id or self.lock_id


class Beaten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: this beat has landed; the lease counts from `base`."""

    beat: int
    base: float


class Doubted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    What carries the lock has ended, as was seen at `at` (boottime): others may have it, until a beat lands that was
    sent after that.
    """

    at: float


class Retaken(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Another connection carries the lock from now on. Its descriptor goes with this, as the first with `Held`.

    `is_state_changed`: the state was written since the last beat over the former one, by our own child or by another.
    """

    is_state_changed: bool = False


class Troubled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The store did not do what was asked, for the reason `error`; it is asked again."""

    during: Literal["holding", "releasing"]
    error: str


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """We no longer have the lease: *gone*, *another's* (whose: `record`), or *expired*."""

    kind: Literal["gone", "another's", "expired"]
    record: LockRecord | None = None


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
    """The end. `result` as in `lock.lease.ReleaseResult`, `failed` (with `error`), or `nothing` to release."""

    result: Literal["released", "gone", "another's", "failed", "nothing"]
    held_seconds: float = 0.0
    heartbeats: int = 0
    error: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """We could not get the lock, or not start a program under it, and `why`."""

    why: Refusal
    waited_seconds: float = 0.0


#: What a session says while it serves, and at its end.
Word = Union[
    Waiting,
    Trying,
    Held,
    Beaten,
    Doubted,
    Retaken,
    Troubled,
    Lost,
    Rescued,
    DigestDiffers,
    Releasing,
    Released,
    Failed,
]
