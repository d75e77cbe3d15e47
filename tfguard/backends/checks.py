"""What a backend adds to `tfguard doctor`: checks of its own places, each harmless. None takes the state's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tfguard.backends.target import Target
from tfguard.errors import ActionDenied, Conflict
from tfguard.findings import Answer

#: Requests that change nothing, each by the permission that it needs.
Attempts = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Tried:
    """What came of trying: permissions such as `s3:PutObject`, and what the service says where it denies one."""

    allowed: tuple[str, ...] = ()
    denied: tuple[ActionDenied, ...] = ()

    def __add__(self, other: Tried) -> Tried:
        return Tried(self.allowed + other.allowed, self.denied + other.denied)

    @property
    def denied_actions(self) -> tuple[str, ...]:
        """The permissions that are denied, each once."""
        return tuple(dict.fromkeys(error.action for error in self.denied))

    def denial(self, actions: str) -> str:
        """Say where `actions`, as they are written for people, are denied."""
        places = " and ".join(dict.fromkeys(error.resource for error in self.denied))
        return f"{actions}: denied on {places}"


def tried(attempts: Attempts) -> Tried:
    """
    Make every attempt: the last one may clean up where a server ignores conditions.

    Raises: StoreUnavailable, StoreDenied (of the credentials as such), StoreMisconfigured.
    """
    allowed, denied = [], []
    for action, attempt in attempts.items():
        try:
            attempt()
        except ActionDenied as error:
            denied.append(error)
        except Conflict:
            allowed.append(action)  # It was refused for its condition alone.
        else:
            allowed.append(action)
    return Tried(tuple(allowed), tuple(denied))


class Examined(Protocol):
    """What a check is told: the lock, and how to call tfguard about it."""

    @property
    def target(self) -> Target:
        """The state's lock."""
        ...

    @property
    def again(self) -> str:
        """How to call tfguard about the same thing, for advice."""
        ...

    def binary(self) -> tuple[str, str]:
        """Return which program runs, `terraform` or `tofu`, and its version."""
        ...

    def try_writing(self) -> None:
        """Write and delete a scratch record beside each lock. Raises as a store does."""
        ...


#: A check that raises an error of tfguard's has failed with it; None: it does not apply.
Check = Callable[[Examined], Answer | None]


@dataclass(frozen=True)
class Checks:
    """
    Checks by their names, in the order in which they are made.

    `before` the lock is read: what is decided without asking anybody. `rights`: whether we may do what a lock needs.
    `places`: whether what the lock stands on can carry it.

    `as_terraform` is told what Terraform itself logged (TF_LOG=DEBUG) while it tried the lock, and compares.
    """

    before: Mapping[str, Check] = field(default_factory=dict)
    rights: Mapping[str, Check] = field(default_factory=dict)
    places: Mapping[str, Check] = field(default_factory=dict)
    as_terraform: Mapping[str, Callable[[Target, str], Answer | None]] = field(default_factory=dict)
