"""`tfguard doctor`: what could keep tfguard from protecting a state, a line a check. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tfguard import redaction
from tfguard.backends.environ import extend_environment
from tfguard.backends.target import Unlockable
from tfguard.errors import TfguardError
from tfguard.lock.opened_lock import OpenedLock
from tfguard.outlet import write_answer
from tfguard.run import whereabouts
from tfguard.run.call import Call
from tfguard.run.context import Context, make_context
from tfguard.wire import printable_json

if TYPE_CHECKING:
    from tfguard.findings import Finding

#: Of the column of checks: their longest name.
_WIDTH = len("store heartbeat")

#: The check after whose failure nothing more can be looked at. What is not initialised passes it with a warning.
DIRECTORY = "directory"


def run_doctor(call: Call, *, is_json: bool) -> int:
    """
    Make every check that applies, and print what it found; return 1 where one has failed.

    Raises:
        TfguardError: Not even the configuration can be had.
    """
    context = make_context(call, needs_binary=False)
    return print_findings(context, find(context, call.environ), is_json=is_json)


def find(context: Context, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Make every check that applies, and none after a directory of which no lock is known."""
    from tfguard.doctor import machine
    from tfguard.doctor.examination import Patient, StatePatient, examine
    from tfguard.findings import Finding as Found
    from tfguard.findings import failed

    for finding in examine(Patient(context, environ), machine.CHECKS):
        yield finding
        if (finding.check, finding.mark) == (DIRECTORY, "failure"):
            return
    # Like its Terraform, this process is to find credentials where the pipeline says.
    extend_environment(context.environ)
    where = whereabouts.find(context)
    if isinstance(where, Unlockable):
        return  # The check of the directory has said why, and there is no lock to look at.
    target = where.target
    try:
        lock = OpenedLock(target.open(), target.deadlines)
    except TfguardError as error:
        yield Found("lock", *failed(error, context.options.again))
        return
    from tfguard.doctor import lock as lock_checks

    try:
        patient = StatePatient(context, environ, target, lock)
        yield from examine(patient, lock_checks.checks_of(patient))
    finally:
        lock.close()


def print_findings(context: Context, findings: Iterable[Finding], *, is_json: bool) -> int:
    """Print each as soon as it is known, or all as one JSON document; return 1 where one is a failure."""
    from tfguard.findings import as_lines

    found: list[Finding] = []
    try:
        for finding in findings:
            found.append(finding)
            if not is_json:
                write_answer("\n".join(as_lines(finding, _WIDTH)), is_awaited=True)
    finally:  # Where the proof cannot be had, what was found before is worth no less.
        if is_json:
            facts = {"label": context.label(), "findings": found}
            write_answer(redaction.redact(printable_json(facts)), is_awaited=True)
    return 1 if any(finding.mark == "failure" for finding in found) else 0
