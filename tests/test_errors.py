"""Every error has its exit code and its outcome, and nobody else's."""

from __future__ import annotations

import inspect
import re
import signal
from collections.abc import Iterator

import pytest

from tfguard import errors
from tfguard.errors import Outcome, TfguardError

#: What docs/reference/exit-codes.md promises. 2 is Terraform's (`-detailed-exitcode`), and 0 and 1 are too.
EXIT_CODES = {
    "UsageError": (64, "usage-error"),
    "StoreUnavailable": (69, "store-error"),
    "TfguardError": (70, "internal"),
    "LockBusy": (75, "lock-timeout"),
    "TakeoverRefused": (75, "takeover-refused"),
    "LeaseLost": (76, "lock-lost"),
    "StoreDenied": (77, "store-error"),
    "ActionDenied": (77, "store-error"),
    "ConfigError": (78, "config-error"),
    "NotInitialised": (78, "config-error"),
    "PlanChanged": (78, "plan-changed"),
    "SurroundingsError": (78, "config-error"),
    "StoreMisconfigured": (78, "config-error"),
    "RunTimeout": (124, "run-timeout"),
    "ProgramNotExecutable": (126, "config-error"),
    "ProgramNotFound": (127, "config-error"),
}
#: Outcomes of runs, which no error stands for: Terraform's own status, or nobody was left to raise one.
OF_RUNS = {"succeeded", "failed", "plan-stale", "orphaned", "orphan-killed"}


def tree(kind: type[TfguardError] = TfguardError) -> Iterator[type[TfguardError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_every_error_ends_with_its_promised_status_and_outcome():
    found = {kind.__name__: (kind.exit_code, kind.outcome.value) for kind in tree() if kind is not errors.Interrupted}

    assert found == EXIT_CODES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_the_status_that_shells_give_it(number):
    error = errors.Interrupted("stopped", signal_number=number)

    assert (error.exit_code, error.outcome) == (128 + number, Outcome.INTERRUPTED)


def test_every_outcome_is_an_errors_or_a_runs():
    of_errors = {kind.outcome.value for kind in tree()}

    assert of_errors | OF_RUNS == {outcome.value for outcome in Outcome}
    assert not of_errors & OF_RUNS


def test_one_status_means_one_outcome():
    """A script that sees the status knows the outcome; why nothing was begun is told apart."""
    outcomes: dict[int, set[str]] = {}
    for code, outcome in EXIT_CODES.values():
        outcomes.setdefault(code, set()).add(outcome)

    assert outcomes.pop(75) == {"lock-timeout", "takeover-refused"}
    assert outcomes.pop(78) == {"config-error", "plan-changed"}
    assert all(len(names) == 1 for names in outcomes.values())


def test_no_status_of_ours_is_terraforms():
    assert not {code for code, _ in EXIT_CODES.values()} & {0, 1, 2}


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = re.findall(r"(\w+) +(\d+|128\+n)  ([a-z-]+)", inspect.getdoc(errors) or "")

    expected = {(name, str(code), outcome) for name, (code, outcome) in EXIT_CODES.items()}
    assert set(drawn) == expected | {("Interrupted", "128+n", "interrupted")}


def test_a_conflict_is_no_error_of_ours():
    """It is a store's answer, handled where it is raised: `except TfguardError` must not swallow it."""
    assert not issubclass(errors.Conflict, TfguardError)
