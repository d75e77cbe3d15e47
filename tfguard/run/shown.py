"""
A Terraform command as the run's page shows it: its text between marks and kept, of a plan what it will change.

Without a page it is run as it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from tfguard.errors import TfguardError
from tfguard.jobfiles.story import PlanFiles
from tfguard.process import inherited
from tfguard.process.front import Front, Refused
from tfguard.report.job_page import JobPage, is_data
from tfguard.report.messages import running
from tfguard.report.run_ended import RunEnded
from tfguard.run.context import Context
from tfguard.run.unlucky import run_until_not_unlucky
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.fingerprint import read_fingerprint
from tfguard.terraform.plan_file import read_lineage

_CHANGES = 2
#: What these are with `-destroy`.
_DESTROYING = {"plan": "plan -destroy", "apply": "destroy"}


def has_page_for(context: Context, invocation: Invocation) -> bool:
    """Whether there is a page, and it tells of this command even where it runs without a lock."""
    page = context.report.page
    if page is None:
        return False
    return bool(page.story.reports) or (_is_for_people(invocation) and not is_data(invocation.argv))


def run_on_page(
    front: Front,
    context: Context,
    invocation: Invocation,
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    is_last: bool = True,
    is_guarded: bool = True,
) -> int:
    """
    Run Terraform with `argv` under what is held; return its exit status as `Front.run` does.

    `is_last`: it is the last command of the user's, or the only one. `is_guarded`: something is held.
    """
    page = context.report.page
    # Where it locks by itself. What comes through a pipe would be gone at the second time.
    may_be_unlucky = is_guarded and "-lock=false" not in argv and not inherited.found().descriptors
    if page is None:
        # Whether Terraform calls a saved plan stale is heard even on a terminal.
        keep = len if invocation.plan_file else None
        return _run(front, context, argv, environ, keep=keep, is_last=is_last, may_be_unlucky=may_be_unlucky)
    is_plan = invocation.words == ("plan",)
    argv, files = _saved(front, page, context, invocation, argv) if is_plan else (argv, None)
    kept = page.begin(page.story.label or context.label(), _command(invocation), directory=context.work_directory)
    is_text = _is_for_people(invocation) and not invocation.is_set("json")  # TF_CLI_ARGS_plan=-json
    with page.fenced(argv) if is_text else contextlib.nullcontext():
        status = _run(front, context, argv, environ, keep=kept.write, is_last=is_last, may_be_unlucky=may_be_unlucky)
    if files is not None and status in (0, _CHANGES):
        _read(front, context, page, files, environ, status, is_refresh_only=invocation.is_set("refresh-only"))
    return status


def _run(
    front: Front,
    context: Context,
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    keep: Callable[[bytes], object] | None,
    is_last: bool,
    may_be_unlucky: bool,
) -> int:
    def run() -> int:
        return front.run(
            [*context.terraform, *argv],
            directory=str(context.directory),
            environ=environ,
            keep=keep,
            is_last=is_last,
        )

    def tell() -> None:
        label = context.label()
        context.report.say("info", "lock.unlucky", running.unlucky(label), label=label)

    return run_until_not_unlucky(front, run, tell) if may_be_unlucky else run()


def _command(invocation: Invocation) -> str:
    """What Terraform is asked for, as a page names it."""
    asked = invocation.display
    return _DESTROYING.get(asked, asked) if invocation.is_set("destroy") else asked


def _is_for_people(invocation: Invocation) -> bool:
    return invocation.command is not None and invocation.command.is_for_people


def for_platform(context: Context, invocation: Invocation, ended: RunEnded) -> RunEnded:
    """Where every status but 0 fails the step, 2 of `-detailed-exitcode` is told by the step's outputs alone."""
    platform = context.report.page.platform if context.report.page is not None else None
    is_detailed = invocation.words == ("plan",) and invocation.is_set("detailed-exitcode")
    if platform is None or not platform.fails_on_every_status or not is_detailed or ended.exit_code != _CHANGES:
        return ended
    return structs.replace(ended, exit_code=0)


def _saved(
    front: Front, page: JobPage, context: Context, invocation: Invocation, argv: Sequence[str]
) -> tuple[Sequence[str], PlanFiles | None]:
    """The plan's arguments with a file to save it to, unless they name one."""
    given = invocation.flag("out")
    path = _reachable(os.path.join(context.settings.directory, given)) if given else None
    if given and path is None:
        return argv, None
    files = page.place_plan(path, front.folder, is_unattended=bool(context.environ.get("TF_IN_AUTOMATION")))
    if files is None or given:
        return argv, files
    at = list(argv).index("plan") + 1
    return [*argv[:at], f"-out={files.plan}", *argv[at:]], files


def _reachable(path: str) -> str | None:
    """
    Return where a program of ours finds this file; None where it is a pipe or a device, which only its reader knows.

    `-out=/dev/fd/5` is a number that the user's own command alone has; the file behind it has a name.
    """
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return path  # It is not there yet.
    if not is_file:
        return None
    return os.path.realpath(path) if path.startswith(("/dev/", "/proc/")) else path


def show(front: Front, context: Context, plan: str, environ: Mapping[str, str], target: int) -> bytes:
    """
    Let Terraform show a saved plan as JSON into an open file of ours; return that, empty where it cannot.

    Raises OSError, TfguardError, Refused.
    """
    bare = {name: value for name, value in environ.items() if not name.startswith("TF_CLI_ARGS")}
    words = [*context.terraform, "show", "-json", plan]
    shown = front.run(words, directory=str(context.directory), environ=bare, stdout=target)
    os.lseek(target, 0, os.SEEK_SET)
    with open(target, "rb", closefd=False) as file:  # Not by its name: others may write to a job's folder.
        return file.read() if shown == 0 else b""


def _read(
    front: Front,
    context: Context,
    page: JobPage,
    files: PlanFiles,
    environ: Mapping[str, str],
    status: int,
    *,
    is_refresh_only: bool,
) -> None:
    """Take from a saved plan what it will do. What cannot be read is left out."""
    with contextlib.suppress(OSError, TfguardError, Refused):
        if page.platform is not None:
            os.chmod(files.plan, 0o600)
        target = os.open(files.shown, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(target, 0o600)  # It may have been there.
            text = show(front, context, files.plan, environ, target)
        finally:
            os.close(target)
        page.take_changes(text, status=status, is_refresh_only=is_refresh_only)
        page.take_fingerprint(read_fingerprint(text, read_lineage(Path(files.plan))))
