"""What a lock's session is asked, and what it answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from tfguard.lock.queue_record import Run
from tfguard.lock.store import LockRecord

#: Which runs may take over the lock of a dead holder; *plan-only*: see `acquire.may_take_over`.
TakeoverPolicy = Literal["always", "plan-only", "never"]
#: *fifo*: first come, first served. *none*: no line.
Order = Literal["fifo", "none"]
#: How long a child without a front may take to stop before it is killed.
ORPHAN_TIMEOUT_SECONDS = 1800.0


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


class Release(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run is over: release, write history, go. Answered by Released."""

    outcome: str
    exit_code: int | None = None


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


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """We no longer have the lease: *gone*, *another's* (whose: `record`), or *expired*."""

    kind: Literal["gone", "another's", "expired"]
    record: LockRecord | None = None


class Releasing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Journal: from now on an absent record is success."""


class Released(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The end. `result` as in `lock.lease.ReleaseResult`, `failed` (with `error`), or `nothing` to release."""

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
