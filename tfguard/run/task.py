"""What is to be done under which lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from tfguard import __version__
from tfguard.backends.target import Target, without_secrets
from tfguard.errors import ConfigError
from tfguard.files import absolute
from tfguard.jobfiles import run_record
from tfguard.jobfiles.run_record import RunRecord
from tfguard.lock.names import UNSAVED_STATE
from tfguard.lock.protocol import LockTerms
from tfguard.lock.store import Holder
from tfguard.report.messages import phrases
from tfguard.run.context import Context, cache_dir, find_target
from tfguard.run.look import Look
from tfguard.terraform.binary import binary_version
from tfguard.terraform.command_line import Invocation, parse


def make_task(
    look: Look, invocation: Invocation, look_again: Callable[[str], Look], *, command: str = "", is_plan: bool = False
) -> Task:
    """
    Describe the run to the runner. `command` is what people see; the invocation's words if empty.

    `is_plan`: it only plans, whatever the invocation is that its lock was found by.
    """
    context, target = look.context, look.target
    identity = context.identity
    origin = " ".join(part for part in (identity.run, identity.link) if part)
    is_plan = is_plan or invocation.words == ("plan",)
    # Under a lock of the user's own name anything may run. A Terraform that is there serves to push a state then.
    terraform = tuple(context.terraform) if context.named is None or context.has_binary else ()
    return Task(
        subject=context.subject(target),
        look=look,
        look_again=look_again,
        terms=_terms(context, invocation),
        holder=Holder(who=identity.who, command=command or invocation.display, run=identity.run, link=identity.link),
        operation=invocation.command.operation if invocation.command and not command else command,
        is_changing=invocation.command.is_changing if invocation.command else True,
        environ=context.environ,
        directory=str(context.directory),
        terraform=terraform,
        version=_version(context),
        info=f"tfguard {__version__}" + (f", {origin}" if origin else ""),
        is_plan=is_plan,
        record=_record(context, target, command or invocation.display),
        record_path=str(context.report.page.record) if context.report.page else run_record.new_path(context.environ),
        state_directory=context.work_directory,
        push_argv=_push_argv(look, invocation) if terraform else (),
        pushed_file=_pushed_file(context, invocation),
        plan_file=os.path.join(context.work_directory, invocation.plan_file) if invocation.plan_file else "",
        ignores_errored=context.options.ignores_errored or invocation.words == ("state", "push"),
        success_codes=frozenset({0, 2}) if is_plan and invocation.is_set("detailed-exitcode") else frozenset({0}),
    )


def _version(context: Context) -> str:
    """Whose lock it is: Terraform's of a version, or where it is no state's, ours."""
    if context.named is not None:
        return f"tfguard {__version__}"
    return binary_version(context.binary, context.environ, cache_dir(context.environ))


def _terms(context: Context, invocation: Invocation) -> LockTerms:
    terms = context.settings.terms
    if invocation.lock_timeout_seconds is not None:
        terms = structs.replace(terms, timeout_seconds=invocation.lock_timeout_seconds)
    orphan_timeout = context.environ.get("TFGUARD_TEST_ORPHAN_TIMEOUT")
    return structs.replace(terms, orphan_timeout_seconds=float(orphan_timeout)) if orphan_timeout else terms


def _push_argv(look: Look, invocation: Invocation) -> tuple[str, ...]:
    """The command that pushes a state under this very lock; none where it would push to another state."""
    context, target = look.context, look.target
    if target.backend == "named":
        return (*context.terraform, "state", "push", "-lock-timeout=60s")
    if invocation.plan_file is not None:
        try:
            own = find_target(context, parse(("apply",), {}), look.workdir)
        except ConfigError:
            return ()
        if not isinstance(own, Target) or (own.path, own.stores) != (target.path, target.stores):
            return ()
    return (*context.terraform, "state", "push", "-lock-timeout=60s" if target.child_locks else "-lock=false")


def _pushed_file(context: Context, invocation: Invocation) -> str:
    """The file that `state push errored.tfstate` pushes, empty for any other command."""
    if invocation.words != ("state", "push") or len(invocation.positionals) != 1:
        return ""
    path = os.path.join(context.work_directory, invocation.positionals[0])
    return path if os.path.basename(path) == UNSAVED_STATE else ""


def _record(context: Context, target: Target, command: str) -> run_record.RunRecord:
    """What a later `settle` has to know of this run."""
    bare, is_stripped = without_secrets(target)
    return run_record.RunRecord(
        label=context.label(target),
        again=context.options.again,
        target=bare,
        is_stripped=is_stripped,
        directory=context.settings.directory,
        pipeline=context.options.pipeline or "",
        config=str(absolute(Path(context.options.config))) if context.options.config else "",
        choosers=run_record.choosers(context.environ),
        who=context.identity.who,
        command=command,
        run=context.identity.run,
        lease_seconds=context.settings.terms.lease_seconds,
    )


@dataclass(frozen=True)
class Task:
    """
    What is to be done under which lock.

    `look` found the lock; `look_again` takes another by the same function, with a folder for a copy of `plan_file`, the
    plan that the run applies. `environ` is Terraform's, and what credentials are resolved from. `terraform` is the
    program that creates a missing workspace, empty where a named lock needs none. `version` goes into LockInfo. In
    `state_directory` Terraform leaves a state that it could not save; `push_argv` pushes it. `pushed_file`: this run
    itself pushes that file.
    """

    subject: phrases.Subject
    look: Look
    look_again: Callable[[str], Look]
    terms: LockTerms
    holder: Holder
    operation: str
    is_changing: bool
    environ: Mapping[str, str]
    directory: str
    terraform: tuple[str, ...]
    version: str = ""
    info: str = ""
    is_plan: bool = False
    success_codes: frozenset[int] = field(default_factory=lambda: frozenset({0}))
    record: RunRecord | None = None
    record_path: str = ""
    state_directory: str = ""
    push_argv: tuple[str, ...] = ()
    pushed_file: str = ""
    plan_file: str = ""
    ignores_errored: bool = False

    @property
    def target(self) -> Target:
        """The lock to take."""
        return self.look.target
