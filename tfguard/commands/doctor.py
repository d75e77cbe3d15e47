"""
`tfguard doctor`: what could keep tfguard from protecting a state, a line a check.

`--prove-lock` shows, on the user's own backend, that our lock is Terraform's; `--repair-digest` mends a state that no
Terraform reads, because the run that wrote it died before it wrote its digest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from tfguard import arguments, log, messages, wire
from tfguard.backend import Unlockable
from tfguard.context import Context, find_target, make_context, make_task
from tfguard.errors import ConfigError, Conflict, TfguardError, UsageError
from tfguard.front import Front
from tfguard.initialise import ensure_initialised
from tfguard.lockinfo import printable
from tfguard.narrator import Narrator
from tfguard.operator import OperatedLock
from tfguard.options import Options
from tfguard.report import Report, write
from tfguard.runner import Runner
from tfguard.store import Target

if TYPE_CHECKING:
    from tfguard.checks import Finding

#: Takes the lock, reads neither configuration nor providers, and changes nothing even where it gets in.
_PROBE = ("state", "rm", "-dry-run", "-lock=true", "-lock-timeout=0s", "terraform_data.tfguard_prove_lock")


def run_doctor(options: Options, environ: Mapping[str, str], report: Report, *, is_json: bool) -> int:
    """
    Make every check that applies, and print what it found; gives 1 where one has failed.

    Raises:
        TfguardError: Not even configuration and binary can be had.
    """
    context = make_context(options, environ, report)
    os.environ.update(context.environ)
    findings = list(_findings(context, environ))
    if is_json:
        facts = {"label": context.label(), "findings": findings}
        print(log.redact(msgspec.json.format(msgspec.json.encode(facts)).decode()))  # noqa: T201 - asked for
    else:
        from tfguard.checks import as_lines

        print("\n".join(as_lines(findings)))  # noqa: T201 - asked for
    return 1 if any(finding.mark == "failure" for finding in findings) else 0


def _findings(context: Context, environ: Mapping[str, str]) -> Iterator[Finding]:
    from tfguard.checks import Finding as Found
    from tfguard.checks import Patient, examine, here, there

    yield from examine(Patient(context, environ), here.CHECKS)
    try:
        target = find_target(context, arguments.parse(("apply",), {}))
    except ConfigError:
        return  # The check of the directory has told.
    if isinstance(target, Unlockable):
        return
    try:
        lock = OperatedLock(target)
    except TfguardError as error:
        first, *rest = str(error).splitlines()
        yield Found("lock", "failure", first, " ".join(rest))
        return
    try:
        yield from examine(Patient(context, environ, target, lock), there.CHECKS)
    finally:
        lock.close()


def repair_digest(options: Options, environ: Mapping[str, str], report: Report, *, is_sure: bool) -> int:
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
    narrator = Narrator(report, messages.Subject(options.pipeline or "tfguard"))
    front = Front(narrator.hear, environ)
    try:
        context = make_context(options, environ, report)
        os.environ.update(context.environ)
        invocation = arguments.parse(("apply",), {})
        target = find_target(context, invocation)
        if isinstance(target, Unlockable):
            raise ConfigError(messages.about(context.label(), target.reason))

        def body(_: wire.Held, __: dict[str, str]) -> int:
            return _repair(target, context.label(target), is_sure=is_sure)

        task = make_task(context, target, invocation, command="doctor")
        return Runner(front, context.report, narrator).run(task, body)
    finally:
        front.close()


def _repair(target: Target, label: str, *, is_sure: bool) -> int:
    from tfguard.stores import state

    found, facts = state.mismatch(target), state.read_facts(target)
    if found is None:
        write(f"{label}: the state and its digest agree: nothing to repair.\n")
        return 0
    if facts is None or facts.md5 != found.actual:
        raise ConfigError(
            f"{label}: nothing was repaired: {found.place} is missing, or is no state that Terraform could read.\n"
            "Restore a version of it from the bucket first."
        )
    write(
        f"{label}: the state has serial {facts.serial}, lineage {printable(facts.lineage, 40)},"
        f" {facts.resources} resources.\n"
        f"Its digest is {facts.md5}; the table {found.table} says {printable(found.stored, 40)}.\n"
    )
    if not is_sure:
        write("Take this state for the right one? Only 'yes' is accepted: ")
        if sys.stdin.readline().strip() != "yes":
            write(f"{label}: not confirmed: nothing was repaired.\n")
            return 1
    try:
        state.repair_digest(target, found)
    except Conflict as error:
        raise ConfigError(f"{label}: nothing was repaired: the digest has changed meanwhile.\nLook again.") from error
    write(f"{label}: repaired: the digest in the table is that of the state.\n")
    return 0


def prove_lock(options: Options, environ: Mapping[str, str], report: Report) -> int:
    """
    Hold the lock, let the real Terraform try to take it, and expect it to be refused with our lock ID.

    Gives 0 if it was, 1 if it was not.
    """
    narrator = Narrator(report, messages.Subject(options.pipeline or "tfguard"))
    front = Front(narrator.hear, environ)
    try:
        context = make_context(options, environ, report)
        ensure_initialised(front, context)
        return _prove(front, narrator, context)
    finally:
        front.close()


def _prove(front: Front, narrator: Narrator, context: Context) -> int:
    invocation = arguments.parse(("plan",), {})
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        raise ConfigError(messages.about(context.label(), target.reason))
    if target.backend == "named":
        raise ConfigError(
            f"{context.label()}: a named lock is not Terraform's: there is nothing to prove.\n"
            "Terraform's own locking stays on in named mode."
        )
    verdict = ""

    def body(held: wire.Held, environ: dict[str, str]) -> int:
        nonlocal verdict
        bare = {name: value for name, value in environ.items() if not name.startswith("TF_CLI_ARGS")}
        status, output = front.run_captured(
            [*context.terraform, *_PROBE], directory=str(context.directory), environ=bare
        )
        is_refused = status != 0 and held.lock_id in output and "Error acquiring the state lock" in output
        label = context.label(target)
        verdict = messages.proved(label, held.lock_id) if is_refused else messages.not_proved(label, output)
        return 0 if is_refused else 1

    status = Runner(front, context.report, narrator).run(make_task(context, target, invocation, command="doctor"), body)
    write(verdict + "\n")
    return status
