"""
Why a lock was not had, or a program not started under it: one struct for each thing that is done about it.

They cross the socket to the front whole, so that it need not guess from a text what happened. `of` makes one of an
error; what it becomes for people is the runner's to say.
"""

from __future__ import annotations

from typing import Union

import msgspec

from tfguard import errors
from tfguard.lock.store import LockRecord
from tfguard.wire import Stranger


class Busy(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody else holds it, and time is up. `record` is what the store showed last, None if it vanished again."""

    record: LockRecord | None


class NotOurTurn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Inside the tfguard around us another one runs, known by `who`, `command` and `pid` (0: unknown); time is up."""

    who: str
    command: str
    pid: int


class TakeoverRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Its holder, told by `record`, is dead, and our policy forbids to take it over."""

    record: LockRecord


class NoWorkspace(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The workspace is missing: Terraform would create it under a lock of its own, against ours."""


class Unlisted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Whether the workspace is there cannot be told: the store denies us, and perhaps Terraform, the list."""

    message: str
    action: str
    resource: str


class UnsavedState(Stranger, frozen=True, kw_only=True, tag=True):
    """A former run's state waits at `place` to be pushed."""

    place: str


class Interrupted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody asked us to stop first."""


class LeaseLost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """We had it, and lost it before anything was started under it."""

    message: str
    kind: errors.LostKind
    record: LockRecord | None


class StoreUnavailable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No usable answer from the store until time was up."""

    message: str
    is_throttled: bool


class StoreDenied(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The store refuses us `action` on `resource`; `is_expired`: the credentials were good once."""

    message: str
    action: str
    resource: str
    is_expired: bool


class ActionDenied(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The credentials are good, and lack the permission for `action` on `resource`."""

    message: str
    action: str
    resource: str


class StoreMisconfigured(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The table or bucket is missing, or of another shape."""

    message: str


class NotExecutable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The program that was to run under the lock could not be started."""

    message: str


class Unexpected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What should not happen."""

    message: str


Refusal = Union[
    Busy, NotOurTurn, TakeoverRefused, NoWorkspace, Unlisted, UnsavedState, Interrupted, LeaseLost, StoreUnavailable,
    StoreDenied, ActionDenied, StoreMisconfigured, NotExecutable, Unexpected,
]  # fmt: skip


def of(error: errors.TfguardError) -> Refusal:
    """Return an error as it crosses the socket, with all that it knows."""
    message = str(error)
    match error:
        case errors.ActionDenied():
            return ActionDenied(message=message, action=error.action, resource=error.resource)
        case errors.StoreDenied():
            return StoreDenied(
                message=message, action=error.action, resource=error.resource, is_expired=error.is_expired
            )
        case errors.StoreUnavailable():
            return StoreUnavailable(message=message, is_throttled=error.is_throttled)
        case errors.ConfigError():
            return StoreMisconfigured(message=message)
        case errors.LeaseLost():
            return LeaseLost(message=message, kind=error.kind, record=error.record)
        case _:
            return Unexpected(message=message)
