"""What is said of a keeper that died. The run goes on, or ends, by what is said here; nothing is lost unheard."""

from __future__ import annotations

from tfguard.report.messages.phrases import Subject, about, fit

_IS_ASKED = "Terraform has been asked once to stop"
_IS_KEPT = f"{_IS_ASKED}; the lock is kept until it has."


def broken(subject: Subject, error: str) -> str:
    """A defect of ours has ended it. What becomes of the run is said when it is gone."""
    first = error.partition("\n")[0]
    return fit(about(subject.label, f"the keeper broke down. {first}"), "This is a defect of tfguard's.")


def died(subject: Subject, *, is_running: bool) -> str:
    """Another takes its place."""
    return fit(
        about(subject.label, "the keeper process died; another takes its place."), _IS_KEPT if is_running else ""
    )


def died_again(subject: Subject) -> str:
    """None takes its place, and Terraform runs on."""
    return fit(
        about(subject.label, "the keeper process died again and again: nobody renews or releases the lock any more."),
        _IS_KEPT if subject.is_local else f"{_IS_ASKED}; what still runs three fifths into the lease is killed.",
    )
