"""What a backend adds to `tfguard doctor`: checks of its own places, each harmless. None takes the state's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from tfguard.backends.target import Target
from tfguard.errors import ActionDenied, Conflict
from tfguard.findings import Answer, failure, ok, warning

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

    @property
    def known(self) -> dict[str, Any]:
        """What a check has been told that others need too, so that nobody is asked for it twice."""
        ...

    def binary(self) -> tuple[str, str]:
        """Return which program runs, `terraform` or `tofu`, and its version."""
        ...

    def try_writing(self) -> None:
        """Write and delete a scratch record beside each lock. Raises as a store does."""
        ...


class Opened(Protocol):
    """What permissions are tried on."""

    def close(self) -> None:
        """Let go of its connections."""
        ...


OpenedStore = TypeVar("OpenedStore", bound=Opened)


@dataclass(frozen=True)
class Permissions(Generic[OpenedStore]):
    """
    How the permissions of one backend are tried, and what is said of them.

    `open` opens the store of a lock of this `kind` of spec. `advice` says what to do, with `{actions}` and
    `{consequence}` in it.
    """

    kind: type[Any]
    open: Callable[[Any], OpenedStore]
    advice: str

    def tried(self, lock: Examined, attempts: Callable[[OpenedStore], Attempts]) -> Tried | None:
        """Try what a store of the lock's attempts; None where none of its stores is here."""
        spec = next((spec for spec in lock.target.stores if isinstance(spec, self.kind)), None)
        if spec is None:
            return None
        with closing(self.open(spec)) as store:
            return tried(attempts(store))

    def denial(self, found: Tried, consequence: str) -> tuple[str, str]:
        """Say what is denied, and what to do about it."""
        actions = ", ".join(found.denied_actions)
        return found.denial(actions), self.advice.format(actions=actions, consequence=consequence)

    def lock_rights(
        self,
        lock: Examined,
        attempts: Callable[[OpenedStore], Attempts],
        *,
        allowed: str = "",
        scratch: str = "lock",
        beside: str = "the lock",
    ) -> Answer | None:
        """
        Try what a lock needs, then all of it on a scratch record beside the lock. `allowed`: the permissions as people
        know them, where they are not the attempts' own names.
        """
        found = self.tried(lock, attempts)
        if found is None:
            return None
        if found.denied:
            return failure(*self.denial(found, "Without it no lock can be held."))
        allowed = allowed or ", ".join(found.allowed)
        try:
            lock.try_writing()
        except ActionDenied as error:
            return warning(f"{allowed}: allowed, but no scratch {scratch} beside {beside}", error.what)
        return ok(f"{allowed}: allowed, and tried on a scratch {scratch}")

    def queue_rights(
        self, lock: Examined, attempts: Callable[[OpenedStore], Attempts], *, by: str = ""
    ) -> Answer | None:
        """Try what the queue record needs. It is advisory, so its absence is no failure. `by`: the permissions."""
        found = self.tried(lock, attempts)
        if found is None:
            return None
        if found.denied:
            return warning(*self.denial(found, "Without it there is no line, no fencing token and no history."))
        return ok(f"the queue record can be read and written{by}")


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
