"""
Everything that can go wrong, one class per thing that a caller or a person does differently.

    TfguardError                       70  internal
    ├── UsageError                     64  usage-error     the command line is wrong
    ├── ConfigError                    78  config-error    tfguard.yml, or the directory, cannot be used as it is
    │   ├── NotInitialised             78  config-error    `init` has not been run in the directory
    │   ├── PlanChanged                78  plan-changed    it is not the plan that `--expect` names
    │   ├── SurroundingsError          78  config-error    a full disk, a limit, a folder that may not be entered
    │   └── StoreMisconfigured         78  config-error    the table or bucket is missing or of another shape
    ├── StoreUnavailable               69  store-error     no usable answer: network, throttling, 5xx
    ├── StoreDenied                    77  store-error     the store answered, and the answer is no
    │   └── ActionDenied               77  store-error     the credentials are good, and lack a permission
    ├── LockBusy                       75  lock-timeout    somebody else holds the lock; we gave up waiting
    │   └── TakeoverRefused            75  takeover-refused  its holder is dead; only a person may free it
    ├── LeaseLost                      76  lock-lost       we had the lock and no longer have it
    ├── RunTimeout                    124  run-timeout     the run took longer than its `run_timeout`
    ├── ProgramNotFound               127  config-error    no such program
    ├── ProgramNotExecutable          126  config-error    it is there and cannot be run
    └── Interrupted                 128+n  interrupted     a signal asked us to stop

    Conflict                                               a store's answer to a conditional write; never leaves `lease`

Only `cli` turns these into exit codes. A message is at most three short lines: what happened, what to do. An error
holds facts; `report.messages.failing` makes of them what a person reads.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, NoReturn, Union

import msgspec

from tfguard.text import harmless

if TYPE_CHECKING:
    from tfguard.lock.store import LockRecord


class Outcome(str, Enum):
    """How a run ended, the same word in logs, history and CI outputs."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PLAN_STALE = "plan-stale"
    PLAN_CHANGED = "plan-changed"
    LOCK_TIMEOUT = "lock-timeout"
    TAKEOVER_REFUSED = "takeover-refused"
    LOCK_LOST = "lock-lost"
    RUN_TIMEOUT = "run-timeout"
    INTERRUPTED = "interrupted"
    ORPHANED = "orphaned"
    ORPHAN_KILLED = "orphan-killed"
    STORE_ERROR = "store-error"
    CONFIG_ERROR = "config-error"
    USAGE_ERROR = "usage-error"
    INTERNAL = "internal"


class TfguardCommand(msgspec.Struct, frozen=True):
    """Advice to run a command of ours. Whoever tells it knows the options that address the same state again."""

    words: str
    lead: str = "Run"

    def addressed(self, again: str) -> str:
        """Return the advice with `again` in place of `tfguard`, as in `tfguard -p prod/network`."""
        return f"{self.lead}: {again} {self.words}"

    def __str__(self) -> str:
        return self.addressed("tfguard")


Advice = Union[str, TfguardCommand]

#: `about` of an error whose words name it themselves: a file, a directory, a lock in the middle of a sentence.
NAMED = ""


class TfguardError(Exception):
    """
    The root: `what` happened, and `advice` what to do, a line each. `str(error)` is both.

    `about`: the state, pipeline or directory that it is about. None: whoever tells it knows.

    Raised itself only for what should not happen: exit 70.
    """

    exit_code: int = 70
    outcome: Outcome = Outcome.INTERNAL
    #: The signal that ended it, 0 if none did: then this process dies of it too.
    signal_number: int = 0

    def __init__(self, what: str, *advice: Advice, about: str | None = None) -> None:
        # Whatever a server, a file or a program said stands in here.
        self.what, *more = harmless(what).split("\n")
        self.advice: tuple[Advice, ...] = (
            *more,
            *(harmless(line) if isinstance(line, str) else line for line in advice),
        )
        self.about = about
        super().__init__("\n".join(str(line) for line in (self.what, *self.advice)))


class UsageError(TfguardError):
    """The command line is wrong. click's own status 2 is never used: it is Terraform's."""

    exit_code = 64
    outcome = Outcome.USAGE_ERROR


class ConfigError(TfguardError):
    """The configuration, or the working directory, cannot be used as it is; nothing was started or locked."""

    exit_code = 78
    outcome = Outcome.CONFIG_ERROR


class NotInitialised(ConfigError):
    """`init` has not been run in this directory."""


class PlanChanged(ConfigError):
    """What would be done is not what was reviewed: nothing of it has been done, and somebody has to look again."""

    outcome = Outcome.PLAN_CHANGED


class SurroundingsError(ConfigError):
    """The system refuses something that we need. Made where errors become words, of what nobody has foreseen."""


class StoreMisconfigured(ConfigError):
    """The table or bucket does not exist, or has another key schema than Terraform's."""


class StoreUnavailable(TfguardError):
    """
    No usable answer from the store. What was asked may or may not have happened: read before assuming.

    `is_throttled` tells callers to back off harder.
    """

    exit_code = 69
    outcome = Outcome.STORE_ERROR

    def __init__(self, what: str, *advice: Advice, is_throttled: bool = False, about: str | None = None) -> None:
        super().__init__(what, *advice, about=about)
        self.is_throttled = is_throttled


class StoreDenied(TfguardError):
    """
    The store refused us: `action` (`dynamodb:PutItem`) on `resource` (`table tf-locks`).

    `is_expired`: the credentials were good once, so this is an outage, not a theft.
    """

    exit_code = 77
    outcome = Outcome.STORE_ERROR

    def __init__(
        self, what: str, *advice: Advice, action: str, resource: str, is_expired: bool = False, about: str | None = None
    ) -> None:
        super().__init__(what, *advice, about=about)
        self.action = action
        self.resource = resource
        self.is_expired = is_expired


class ActionDenied(StoreDenied):
    """The credentials are good; what they lack is the permission for this one action."""


class LockBusy(TfguardError):
    """Somebody else holds the lock. `record` is what the store showed last (None: the lock is local and mute)."""

    exit_code = 75
    outcome = Outcome.LOCK_TIMEOUT

    def __init__(self, what: str, *advice: Advice, record: LockRecord | None = None, about: str | None = None) -> None:
        super().__init__(what, *advice, about=about)
        self.record = record


class TakeoverRefused(LockBusy):
    """Its holder is dead, and `lock.takeover` leaves the lock to a person: waiting would not help."""

    outcome = Outcome.TAKEOVER_REFUSED


LostKind = Literal["gone", "another's", "expired"]


class LeaseLost(TfguardError):
    """
    We had the lease and no longer have it.

    `kind`: *gone* (somebody unlocked it), *another's* (`record` tells whose), *expired* (no heartbeat could
    be confirmed and the run had to be ended).
    """

    exit_code = 76
    outcome = Outcome.LOCK_LOST

    def __init__(
        self, what: str, *advice: Advice, kind: LostKind, record: LockRecord | None = None, about: str | None = None
    ) -> None:
        super().__init__(what, *advice, about=about)
        self.kind: LostKind = kind
        self.record = record


class RunTimeout(TfguardError):
    """The run took longer than `run_timeout`; Terraform was asked once to stop, and has stopped."""

    exit_code = 124
    outcome = Outcome.RUN_TIMEOUT


class ProgramNotFound(TfguardError):
    """No such program; the message says where we looked."""

    exit_code = 127
    outcome = Outcome.CONFIG_ERROR


class ProgramNotExecutable(TfguardError):
    """The program is there and cannot be run."""

    exit_code = 126
    outcome = Outcome.CONFIG_ERROR


class Interrupted(TfguardError):
    """A signal asked us to stop before Terraform was started. `was_waiting`: while we stood in line for the lock."""

    outcome = Outcome.INTERRUPTED
    was_waiting = False

    def __init__(self, what: str, *advice: Advice, signal_number: int, about: str | None = None) -> None:
        super().__init__(what, *advice, about=about)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # Of other errors it is the class's own.
        return 128 + self.signal_number


class Conflict(Exception):
    """
    A conditional write found the record other than expected. Read, then decide.

    `record` is set where it is not this record but another lock that stands in the way, which a read does not show.
    """

    record: LockRecord | None = None


def assert_never(value: NoReturn) -> NoReturn:
    """Close a `match`: mypy refuses it where a case is missing. `typing` has it from Python 3.11 on."""
    raise AssertionError(f"nobody expects a {type(value).__name__}")
