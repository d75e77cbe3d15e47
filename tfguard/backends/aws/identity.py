"""Whom AWS takes us for, as `tfguard doctor` tells it: where the credentials come from, and Terraform beside us."""

from __future__ import annotations

import os
import re
from contextlib import closing

from tfguard.backends.aws.order import Decision, decide, examine, profiles_of
from tfguard.backends.aws.spec import AwsAccess
from tfguard.backends.aws.where import where_of
from tfguard.backends.checks import Examined
from tfguard.backends.target import Target
from tfguard.errors import TfguardError
from tfguard.findings import Answer, failed, failure, ok, warning

_ARN = re.compile(r"<Arn>([^<]{1,2100})</Arn>")


def identity(lock: Examined) -> Answer | None:
    """Say which step of the order gives the credentials, and what each other step holds. Asks nobody."""
    access = _access_of(lock.target)
    if access is None:
        return None
    try:
        profiles = profiles_of(access, os.environ)
        whole = where_of(access, os.environ, profiles).access
    except TfguardError as error:
        return failed(error)
    try:
        return ok(in_words(decide(whole, os.environ, profiles), access))
    except TfguardError as error:
        mark, first, advice = failed(error)
        steps = (f"{step.name}: {step.found or step.mark}" for step in examine(whole, os.environ, profiles))
        return mark, "; ".join([first.rstrip("."), *steps]), advice


def in_words(decision: Decision, access: AwsAccess) -> str:
    """Write the whole order in a line: the step that counts first, then those that are set too, then the others."""
    roles = "".join(f", then {role.role_arn}" for role in access.assume_role)
    unused = ", ".join(f"{step.name} ({step.found})" for step in decision.steps if step.mark == "not used")
    unset = ", ".join(step.name for step in decision.steps if step.mark == "not set")
    said = f"{decision.used.name}: {decision.used.found}{roles}"
    others = {"set, not used": unused, "not set": unset}
    return "; ".join([said, *(f"{mark}: {names}" for mark, names in others.items() if names)])


def as_terraform(target: Target, log: str) -> Answer | None:
    """
    Compare whom AWS takes us for with whom it takes Terraform for, where Terraform asks and logs it.

    It asks unless the backend says `skip_credentials_validation`.
    """
    access, found = _access_of(target), _callers(log)
    if access is None or not found:
        return None
    theirs = found[-1]
    try:
        with closing(access.resolve()) as credentials:
            ours = credentials.caller()
    except TfguardError as error:
        return warning(f"AWS knows Terraform as {theirs}, and does not tell who we are", str(error).splitlines()[0])
    if _without_session(ours) == _without_session(theirs):
        return ok(f"AWS knows both of us as {_without_session(ours)}")
    return failure(
        f"AWS knows us as {_without_session(ours)}, and Terraform as {_without_session(theirs)}",
        "They may hold different locks: set the credentials in one way only, and tell us.",
    )


def _callers(log: str) -> list[str]:
    """The ARNs that AWS has called Terraform by, in the order of its questions."""
    answers = (rest.partition("</GetCallerIdentityResult>")[0] for rest in log.split("<GetCallerIdentityResult>")[1:])
    return [found[1] for found in map(_ARN.search, answers) if found]


def _without_session(arn: str) -> str:
    """An assumed role's ARN ends with a name for the session, of which each of us has its own."""
    return arn.rpartition("/")[0] if ":assumed-role/" in arn else arn


def _access_of(target: Target) -> AwsAccess | None:
    """All stores of a target are reached alike; a local one is reached without anybody."""
    found: AwsAccess | None = next(filter(None, (getattr(spec, "aws", None) for spec in target.stores)), None)
    return found
