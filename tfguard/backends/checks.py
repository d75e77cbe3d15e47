"""What a backend adds to `tfguard doctor`: checks of its own places, each harmless. None takes the state's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tfguard.backends.target import Target
from tfguard.findings import Answer


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
