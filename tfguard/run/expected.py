"""
`--expect`: the plan that was reviewed is the plan that is applied.

Under the lock it is planned again, into a file that only we can read, and the fingerprints are compared. Only where
they are the same that very file is applied. So no plan has to be kept from the review to the apply, secrets in clear.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from tfguard.errors import NAMED, ConfigError, PlanChanged, UsageError
from tfguard.process.front import Front
from tfguard.report.messages import starting
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.context import Context
from tfguard.run.look import Footing, private_folder
from tfguard.run.session import Session, guarded
from tfguard.run.shown import run_on_page, show
from tfguard.run.terraform_command import child_arguments, for_pipeline
from tfguard.terraform import command_line, fingerprint
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.fingerprint import Fingerprint, read_fingerprint
from tfguard.terraform.plan_file import read_lineage
from tfguard.text import printable
from tfguard.wire import parse

_CHANGES = 2
_MAX_REPORT_BYTES = 64 * 1024 * 1024
_EXAMPLE = "For example: tfguard --expect plan.json apply"
#: Flags that an apply has beside those of the plan that it makes itself: of both, and of the apply alone.
_OF_BOTH = frozenset({"no-color", "json", "compact-warnings", "input", "parallelism", "lock", "lock-timeout"}) | {
    *("concise", "consolidate-errors", "consolidate-warnings", "show-sensitive", "ignore-remote-version")
}
#: Nobody is asked about a plan that has been reviewed.
_OF_APPLY = frozenset({"auto-approve", "suppress-forget-errors"})


class Expected(msgspec.Struct, frozen=True, rename={"text": "fingerprint", "parts": "fingerprint_parts"}):
    """The reviewed plan, as its report (`--report FILE.json`) has it. `parts`: None where they are not known."""

    text: str
    parts: dict[str, str] | None = None


def read_expectation(given: str) -> Expected:
    """Read what `--expect` names: a fingerprint, or a report with one. Raises UsageError."""
    shown = printable(given, 60)
    if not given.endswith(".json"):
        if fingerprint.PATTERN.fullmatch(given):
            return Expected(given)
        raise UsageError(f"--expect {shown} is neither a plan's fingerprint (p1-…) nor its report (.json).", _EXAMPLE)
    try:
        with open(given, "rb") as file:
            report = parse(file.read(_MAX_REPORT_BYTES), Expected)
    except OSError as error:
        raise UsageError(f"--expect {shown} cannot be read: {error.strerror}.", _EXAMPLE) from error
    except msgspec.DecodeError as error:
        raise UsageError(f"--expect {shown} is no report of a plan: it has no fingerprint.", _EXAMPLE) from error
    if not fingerprint.PATTERN.fullmatch(report.text):
        raise UsageError(f"--expect {shown} is the report of no plan: its fingerprint is none.", _EXAMPLE)
    return report


def apply_expected(call: Call) -> RunEnded:
    """
    Plan again under the lock, and apply that plan if it is the expected one; return how it ended.

    Raises:
        UsageError, ConfigError: Nothing was run, and why.
    """
    expected = read_expectation(call.options.expect or "")
    with guarded(call) as session:
        invocation = for_pipeline(session.context)
        _check_lock(session.context, invocation)
        session.ensure_initialised()

        def body(footing: Footing) -> int:
            return _apply(session, footing, invocation, expected)

        return session.run(lambda: session.task(invocation), body)


def _check_lock(context: Context, invocation: Invocation) -> None:
    """Between the plan and the apply nobody else may come: that takes our lock."""
    if invocation.verdict != "lock":
        why = "-lock=false was asked for" if invocation.verdict == "unlocked" else invocation.reason
        raise ConfigError(f"--expect plans and applies under one lock, and {why}.", about=context.label())


def _apply(session: Session, footing: Footing, invocation: Invocation, expected: Expected) -> int:
    front, context = session.front, footing.context
    with plan_file(front) as path:
        if invocation.plan_file is None:
            status, is_planned = _plan(front, footing, invocation, path)
            if not is_planned:
                return status
            footing.check()  # Before another program starts.
        else:
            shutil.copyfile(footing.look.copy or Path(context.work_directory, invocation.plan_file), path)
        kept = _OF_BOTH if invocation.plan_file is None else _OF_BOTH | _OF_APPLY
        words = ["apply", *_flags(invocation, lambda name: name in kept), str(path)]
        applying = command_line.parse(words, footing.environ)
        argv, environ = child_arguments(context, applying, footing)
        if not check(front, footing, Path(footing.look.copy or path), environ, expected):
            return 1
        return run_on_page(front, context, applying, argv, environ)


def _plan(front: Front, footing: Footing, invocation: Invocation, path: Path) -> tuple[int, bool]:
    """Plan what the apply is asked for; return Terraform's status, and whether there is a plan."""
    context = footing.context
    destroying = ["-destroy"] if invocation.words == ("destroy",) else []
    # What a pipeline's plan is given otherwise, the reviewed one was.
    own = context.settings.args.get("plan", ()) if context.settings.pipeline else ()
    flags = _flags(invocation, lambda name: name not in _OF_APPLY)
    planning = command_line.parse(["plan", *destroying, *own, *flags, f"-out={path}"], footing.environ)
    _check_lock(context, planning)
    argv, environ = child_arguments(context, planning, footing)
    # Else Terraform would advise applying by hand a plan that goes with us.
    environ = {"TF_IN_AUTOMATION": "1", **environ}
    status = run_on_page(front, context, planning, argv, environ, is_last=False)
    return status, status == 0 or (status == _CHANGES and planning.is_set("detailed-exitcode"))


def _flags(invocation: Invocation, is_wanted: Callable[[str], bool]) -> list[str]:
    """The words of these flags, with their values, as the user has written them behind the command."""
    tokens = [token for token in invocation.tokens if not token.source and token.role in ("flag", "value")]
    return [token.word for token in tokens if is_wanted(token.name)]


def check(front: Front, footing: Footing, plan: Path, environ: Mapping[str, str], expected: Expected) -> bool:
    """
    Make sure that a saved plan is the expected one. Return False where we are to stop before that is known.

    Raises:
        PlanChanged: It is another one; its message names the difference.
        ConfigError: Terraform does not show what it will do.
        Refused: Nothing may be started any more.
    """
    context, label = footing.context, footing.context.label(footing.look.target)
    with contextlib.suppress(OSError):
        plan.chmod(0o600)
    found = _fingerprint(front, context, plan, environ)
    if found is None and (front.lost is not None or front.stopped_by is not None or front.is_timed_out):
        return False
    if found is None:
        raise ConfigError(starting.plan_unreadable(label), about=NAMED)
    if found.text == expected.text:
        return True
    if context.report.page is not None:  # It is the apply that has ended here.
        context.report.page.begin(label, "apply")
    difference = found.difference(expected.parts) if expected.parts is not None else None
    raise PlanChanged(starting.plan_changed(label, found.text, difference, tuple(found.parts)), about=NAMED)


def _fingerprint(front: Front, context: Context, plan: Path, environ: Mapping[str, str]) -> Fingerprint | None:
    page = context.report.page
    if page is not None and page.story.fingerprint is not None:  # Of the plan that has just been made.
        return page.story.fingerprint
    try:
        with tempfile.TemporaryFile(dir=plan.parent) as file:
            text = show(front, context, str(plan), environ, file.fileno())
    except OSError:
        return None
    found = read_fingerprint(text, read_lineage(plan))
    if page is not None:
        page.take_fingerprint(found)
    return found


@contextlib.contextmanager
def plan_file(front: Front) -> Iterator[Path]:
    """A place for a plan in a folder that only we can enter: a plan holds secrets in clear."""
    with tempfile.TemporaryDirectory(prefix="plan-", dir=private_folder(front)) as folder:
        yield Path(folder, "tfplan")
