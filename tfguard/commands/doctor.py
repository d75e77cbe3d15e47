"""`tfguard doctor`: what could keep tfguard from protecting a state, a line a check. It changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfguard import colour, redaction
from tfguard.backends.environ import extend_environment, extended_environment
from tfguard.backends.target import Unlockable
from tfguard.config.file import Config
from tfguard.errors import TfguardError
from tfguard.lock.opened_lock import OpenedLock
from tfguard.outlet import write_answer
from tfguard.run import whereabouts
from tfguard.run.call import Call
from tfguard.run.context import Context, make_context
from tfguard.run.fleet import Fleet
from tfguard.text import printable
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


def run_doctor_of_all(call: Call, fleet: Fleet, *, is_json: bool) -> int:
    """Make the checks of each of these pipelines; return 1 where one has failed, or could not even begin."""
    codes, documents = list[int](), list[Any]()
    for each in fleet.calls(call):
        with extended_environment({}):  # Each has its own.
            found = _findings(each, fleet.config)
            if is_json:
                documents.append({"label": each.name, "findings": list(found)})
                codes.append(_status(documents[-1]["findings"]))
            else:
                write_answer(f"{'' if not codes else chr(10)}{printable(each.name, 80)}")
                codes.append(_print_lines(found))
    if is_json:
        write_answer(redaction.redact(printable_json(documents)), is_awaited=True)
    return max(codes, default=0)


def _findings(call: Call, config: Config) -> Iterator[Finding]:
    """As `find`; why not even the configuration can be had is a finding too."""
    from tfguard.findings import Finding as Found
    from tfguard.findings import failed

    try:
        context = make_context(call, config=config, needs_binary=False)
    except TfguardError as error:
        yield Found("configuration", *failed(error, call.options.again))
        return
    yield from find(context, call.environ)


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
    if not is_json:
        return _print_lines(findings)
    found: list[Finding] = []
    try:
        found.extend(findings)
    finally:  # Where the proof cannot be had, what was found before is worth no less.
        facts = {"label": context.label(), "findings": found}
        write_answer(redaction.redact(printable_json(facts)), is_awaited=True)
    return _status(found)


def _print_lines(findings: Iterable[Finding]) -> int:
    from tfguard.findings import as_lines

    found: list[Finding] = []
    is_coloured = colour.is_wanted(sys.stdout)
    for finding in findings:
        found.append(finding)
        write_answer("\n".join(as_lines(finding, _WIDTH, is_coloured=is_coloured)), is_awaited=True)
    return _status(found)


def _status(found: Iterable[Finding]) -> int:
    return 1 if any(finding.mark == "failure" for finding in found) else 0
