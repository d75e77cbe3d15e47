"""
`tfguard doctor`: what could keep tfguard from protecting a state, a line a check.

`--prove-lock` adds one: that, on the user's own backend, our lock is Terraform's. `--repair-digest` mends a state
that no Terraform reads, because the run that wrote it died before it wrote its digest.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from tfguard import redaction
from tfguard.backends.environ import extend_environment
from tfguard.backends.target import Target, Unlockable
from tfguard.config.options import Options
from tfguard.errors import ConfigError, Conflict, TfguardError, UsageError
from tfguard.files import write_to_stderr
from tfguard.lock import protocol
from tfguard.lock.opened_lock import OpenedLock
from tfguard.process.front import Front
from tfguard.report.messages import phrases
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter
from tfguard.run.context import Context, find_target, make_context
from tfguard.run.initialise import ensure_initialised
from tfguard.run.runner import Runner
from tfguard.run.task import make_task
from tfguard.terraform import command_line
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.findings import Finding

#: Of the column of checks: their longest name.
_WIDTH = len("dynamodb_table")

#: After this nothing more can be looked at.
_UNUSABLE = ("directory", "failure")

_NOT_PROVED = (
    "tfguard does not protect this state, so do not use state mode here:"
    " set lock.mode: named in tfguard.yml, and tell us."
)
#: Takes the lock, reads neither configuration nor providers, and changes nothing even where it gets in.
_PROBE = ("state", "rm", "-dry-run", "-lock=true", "-lock-timeout=0s", "terraform_data.tfguard_prove_lock")


def run_doctor(options: Options, environ: Mapping[str, str], report: Reporter, *, is_json: bool) -> int:
    """
    Make every check that applies, and print what it found; gives 1 where one has failed.

    Raises:
        TfguardError: Not even configuration and binary can be had.
    """
    context = make_context(options, environ, report)
    return _print_findings(context, _findings(context, environ), is_json=is_json)


def _findings(context: Context, environ: Mapping[str, str]) -> Iterator[Finding]:
    from tfguard.doctor import machine
    from tfguard.doctor.examination import Patient, StatePatient, examine
    from tfguard.findings import Finding as Found
    from tfguard.findings import failed

    for finding in examine(Patient(context, environ), machine.CHECKS):
        yield finding
        if (finding.check, finding.mark) == _UNUSABLE:
            return
    # Like its Terraform, this process is to find credentials where the pipeline says.
    extend_environment(context.environ)
    target = find_target(context, command_line.parse(("apply",), {}))
    assert isinstance(target, Target)  # The check of the directory has seen it.
    try:
        lock = OpenedLock(target.open(), target.deadlines)
    except TfguardError as error:
        yield Found("lock", *failed(error))
        return
    from tfguard.doctor import lock as lock_checks

    try:
        patient = StatePatient(context, environ, target, lock)
        yield from examine(patient, lock_checks.checks_of(patient))
    finally:
        lock.close()


def _print_findings(context: Context, findings: Iterable[Finding], *, is_json: bool) -> int:
    """Print each as soon as it is known, or all as one JSON document; gives 1 where one is a failure."""
    from tfguard.findings import as_lines

    found: list[Finding] = []
    try:
        for finding in findings:
            found.append(finding)
            if not is_json:
                print("\n".join(as_lines(finding, _WIDTH)), flush=True)  # noqa: T201 - asked for
    finally:  # Where the proof cannot be had, what was found before is worth no less.
        if is_json:
            facts = {"label": context.label(), "findings": found}
            text = msgspec.json.format(msgspec.json.encode(facts)).decode()
            print(redaction.redact(text), flush=True)  # noqa: T201 - asked for
    return 1 if any(finding.mark == "failure" for finding in found) else 0


def repair_digest(options: Options, environ: Mapping[str, str], report: Reporter, *, is_sure: bool) -> int:
    """
    Under the lock, write the digest of the state as it is, after it was shown and confirmed.

    Gives 0 where state and digest agree afterwards, 1 where the operator said no.

    Raises:
        ConfigError: There is no digest, or the object is no state.

        LockBusy: Somebody else holds the lock.
    """
    if not is_sure and not sys.stdin.isatty():
        raise UsageError(
            f"there is no terminal to ask on.\nTo go without: {options.again} doctor --repair-digest --yes"
        )
    narrator = Narrator(report, phrases.Subject(options.pipeline or "tfguard"))
    with contextlib.closing(Front(narrator.hear, environ)) as front:
        context = make_context(options, environ, report)
        extend_environment(context.environ)
        invocation = command_line.parse(("apply",), {})
        target = find_target(context, invocation)
        if isinstance(target, Unlockable):
            raise ConfigError(phrases.about(context.label(), target.reason))

        def body(_: protocol.Held, __: dict[str, str]) -> int:
            return _repair(target, context.label(target), is_sure=is_sure)

        task = make_task(context, target, invocation, command="doctor")
        return Runner(front, context.report, narrator).run(task, body)


def _repair(target: Target, label: str, *, is_sure: bool) -> int:
    from tfguard.backends import state

    found, facts = state.mismatch(target), state.read_facts(target)
    if found is None:
        write_to_stderr(f"{label}: the state and its digest agree: nothing to repair.\n")
        return 0
    if facts is None or facts.md5 != found.actual:
        raise ConfigError(
            f"{label}: nothing was repaired: {found.place} is missing, or is no state that Terraform could read.\n"
            "Restore a version of it from the bucket first."
        )
    write_to_stderr(
        f"{label}: the state has serial {facts.serial}, lineage {printable(facts.lineage, 40)},"
        f" {facts.resources} resource{'' if facts.resources == 1 else 's'}.\n"
        f"Its digest is {facts.md5}; the table {found.table} says {printable(found.stored, 40)}.\n"
    )
    if not is_sure:
        write_to_stderr("Take this state for the right one? Only 'yes' is accepted: ")
        if sys.stdin.readline().strip() != "yes":
            write_to_stderr(f"{label}: not confirmed: nothing was repaired.\n")
            return 1
    try:
        state.repair_digest(target, found)
    except Conflict as error:
        raise ConfigError(f"{label}: nothing was repaired: the digest has changed meanwhile.\nLook again.") from error
    write_to_stderr(f"{label}: repaired: the digest in the table is that of the state.\n")
    return 0


def prove_lock(options: Options, environ: Mapping[str, str], report: Reporter, *, is_json: bool) -> int:
    """
    Make every check, and as the last one prove the lock: hold it, let the real Terraform try to take it, and expect
    Terraform to be refused with our lock ID.

    Gives 0 if it was and no check has failed, else 1.

    Raises:
        TfguardError: As a run's, where the lock cannot be had: it is busy, or the directory is not initialised.
    """
    narrator = Narrator(report, phrases.Subject(options.pipeline or "tfguard"))
    with contextlib.closing(Front(narrator.hear, environ)) as front:
        context = make_context(options, environ, report)
        ensure_initialised(front, context)

        def findings() -> Iterator[Finding]:
            finding = None
            for finding in _findings(context, environ):
                yield finding
            # A directory that is not initialised is the last thing that is looked at.
            if finding is None or (finding.check, finding.mark) != _UNUSABLE:
                yield _prove(front, narrator, context)

        return _print_findings(context, findings(), is_json=is_json)


def _prove(front: Front, narrator: Narrator, context: Context) -> Finding:
    from tfguard.findings import Finding as Found
    from tfguard.findings import failure, ok

    invocation = command_line.parse(("plan",), {})
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        raise ConfigError(phrases.about(context.label(), target.reason))
    if target.backend == "named":
        raise ConfigError(
            f"{context.label()}: a named lock is not Terraform's: there is nothing to prove.\n"
            "Terraform's own locking stays on in named mode."
        )
    answer = failure("the lock was not held long enough to tell", "Try again.")

    def body(held: protocol.Held, environ: dict[str, str]) -> int:
        nonlocal answer
        bare = {name: value for name, value in environ.items() if not name.startswith("TF_CLI_ARGS")}
        status, output = front.run_captured(
            [*context.terraform, *_PROBE], directory=str(context.directory), environ=bare
        )
        is_refused = status != 0 and held.lock_id in output and "Error acquiring the state lock" in output
        answer = ok(f"Terraform itself is refused while we hold the lock ({held.lock_id})")
        if not is_refused:
            answer = failure(f"Terraform was not refused by our lock; it said: {_last_words(output)}", _NOT_PROVED)
        return 0 if is_refused else 1

    Runner(front, context.report, narrator).run(make_task(context, target, invocation, command="doctor"), body)
    return Found("proof", *answer)


def _last_words(output: str) -> str:
    """The last line of what Terraform said, without its frame."""
    lines = (line.strip(" │╵╷") for line in reversed(output.splitlines()))
    return printable(next(filter(None, lines), "nothing"), 100)
