"""
`tfguard doctor --repair-digest`: mend a state that no Terraform reads, since the run that wrote it died before it wrote
its digest.

Of all that belongs to doctor, this alone writes: under the lock, and after it was confirmed.
"""

from __future__ import annotations

import sys

from tfguard.backends.environ import extend_environment
from tfguard.backends.target import Target
from tfguard.errors import ConfigError, Conflict, TfguardCommand, UsageError
from tfguard.outlet import write_to_stderr
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.look import Footing
from tfguard.run.session import guarded
from tfguard.terraform import command_line
from tfguard.text import printable


def repair_digest(call: Call, *, is_sure: bool) -> RunEnded:
    """
    Under the lock, write the digest of the state as it is, after it was shown and confirmed.

    It ends with 0 where state and digest agree afterwards, with 1 where the operator said no.

    Raises:
        ConfigError: There is no digest, or the object is no state.

        LockBusy: Somebody else holds the lock.
    """
    if not is_sure and not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on.", TfguardCommand("doctor --repair-digest --yes", lead="To go without")
        )
    with guarded(call) as session:
        extend_environment(session.context.environ)

        def body(footing: Footing) -> int:
            target = footing.look.target
            return _repair(target, session.context.label(target), is_sure=is_sure)

        return session.run(lambda: session.task(command_line.parse(("apply",), {}), command="doctor"), body)


def _repair(target: Target, label: str, *, is_sure: bool) -> int:
    from tfguard.backends import state

    found, facts = state.mismatch(target), state.read_facts(target)
    if found is None:
        write_to_stderr(f"{label}: the state and its digest agree: nothing to repair.\n")
        return 0
    if facts is None or facts.md5 != found.actual:
        raise ConfigError(
            f"nothing was repaired: {found.place} is missing, or is no state that Terraform could read.",
            "Restore a version of it from the bucket first.",
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
        raise ConfigError("nothing was repaired: the digest has changed meanwhile.", "Look again.") from error
    write_to_stderr(f"{label}: repaired: the digest in the table is that of the state.\n")
    return 0
