"""
What `tfguard doctor` looks at: one function a check, each harmless, each answering in a line and, if need be, advice.

A check never raises: what it cannot find out is a finding too. Nothing here takes the state's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tfguard.backends.target import Target
from tfguard.errors import ActionDenied, StoreDenied, StoreUnavailable, TfguardError
from tfguard.findings import Answer, Finding, failed
from tfguard.lock.opened_lock import OpenedLock, try_writing
from tfguard.run.context import Context, cache_dir
from tfguard.terraform.binary import binary_version

#: After these every further question to a store would end as the first did.
_FINAL = (StoreUnavailable, StoreDenied)


@dataclass(frozen=True)
class Patient:
    """What is looked at: this machine, and the directory."""

    context: Context
    environ: Mapping[str, str]

    @property
    def again(self) -> str:
        """How to call tfguard about the same thing, for advice."""
        return self.context.options.again


@dataclass(frozen=True)
class StatePatient(Patient):
    """The same, and the state's lock, once it is known. It is what a backend's checks ask for, `Examined`, too."""

    target: Target
    lock: OpenedLock
    known: dict[str, Any] = field(default_factory=dict)

    def binary(self) -> tuple[str, str]:
        """Return which program runs, `terraform` or `tofu`, and its version; both empty where there is none."""
        if not self.context.has_binary:  # The check of the binary has said so.
            return "", ""
        binary, environ = self.context.binary, self.context.environ
        return binary.kind, binary_version(binary, environ, cache_dir(environ))

    def try_writing(self) -> None:
        """Write and delete a scratch record beside each lock. Raises as a store does."""
        for spec in self.target.stores:
            if (scratch := spec.scratch()) is not None:
                with closing(scratch.open()) as store:
                    try_writing(store)


Looked = TypeVar("Looked", bound=Patient)


def examine(patient: Looked, checks: Mapping[str, Callable[[Looked], Answer | None]]) -> Iterator[Finding]:
    """
    Make each check that applies, in the table's order.

    What stands in the way of several is told once. Where a store gives no answer, or knows no such credentials, it
    would give none to the others either: they are not made.
    """
    told: set[tuple[type[TfguardError], str]] = set()
    for name, check in checks.items():
        try:
            answer = check(patient)
        except TfguardError as error:
            answer = failed(error, patient.again)
            trouble = (type(error), answer[2])
            if trouble not in told:
                yield Finding(name, *answer)
            if isinstance(error, _FINAL) and not isinstance(error, ActionDenied):
                return
            told.add(trouble)
        else:
            if answer is not None:
                yield Finding(name, *answer)
