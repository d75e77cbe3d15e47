"""
What a command works on: the settings that hold, the binary, the working directory, who we are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from tfguard import __version__
from tfguard.ci.identity import Identity, identify
from tfguard.config import settings
from tfguard.config.file import Config
from tfguard.config.options import Options
from tfguard.config.settings import Settings
from tfguard.errors import ConfigError
from tfguard.jobfiles import run_record
from tfguard.lock.names import UNSAVED_STATE
from tfguard.lock.store import Holder, LocalSpec, S3Spec, Target
from tfguard.report import log
from tfguard.report.messages import phrases
from tfguard.report.reporter import Report
from tfguard.run.runner import Task, Terms
from tfguard.terraform.binary import Binary, binary_version, find_binary
from tfguard.terraform.command_line import Invocation, parse
from tfguard.terraform.locate import Unlockable, resolve_target
from tfguard.terraform.workdir import WorkingDirectory


@dataclass(frozen=True)
class Context:
    """
    One call of tfguard, resolved. `environ` is what Terraform gets, before the lock's own variables.

    `current` is where we were called: Terraform runs there with its `-chdir`, or in the pipeline's directory.
    """

    options: Options
    settings: Settings
    binary: Binary
    environ: Mapping[str, str]
    identity: Identity
    report: Report
    current: Path

    @property
    def directory(self) -> Path:
        """Where the child is started: with `-chdir`, Terraform itself changes its directory."""
        return Path(self.settings.directory) if self.settings.pipeline else self.current

    @property
    def terraform(self) -> list[str]:
        """The program, and `-chdir` where the user gave it."""
        chdir = [] if self.settings.pipeline or not self.options.chdir else [f"-chdir={self.options.chdir}"]
        return [str(self.binary.path), *chdir]

    def workdir(self) -> WorkingDirectory:
        """Look at the working directory now (again after an init)."""
        return WorkingDirectory.at(Path(self.settings.directory), None, self.environ)

    def label(self, target: Target | None = None) -> str:
        """The pipeline's name, else the state's, else the directory."""
        if self.settings.pipeline:
            return self.settings.pipeline
        return target.label if target else self.settings.directory

    def subject(self, target: Target) -> phrases.Subject:
        is_local = all(isinstance(spec, LocalSpec) for spec in target.stores)
        return phrases.Subject(self.label(target), command=self.options.again, is_local=is_local)


def make_context(
    options: Options, environ: Mapping[str, str], report: Report, *, config: Config | None = None
) -> Context:
    """
    Resolve configuration, binary and identity. `config` is the file where it has been read already.

    Raises:
        ConfigError, UsageError, ProgramNotFound, ProgramNotExecutable: As found.
    """
    from tfguard.config.file import find_config, load

    if options.pipeline and options.chdir:
        raise ConfigError(
            "-p and -chdir exclude each other: a pipeline has its own `dir`.\n"
            f"Say one of: tfguard -p {options.pipeline} …, tfguard -chdir={options.chdir} …"
        )
    current = Path.cwd()
    directory = Path(os.path.abspath(current / (options.chdir or "")))
    if config is None and (path := find_config(directory, options.config, environ)):
        config = load(path, environ)
    if options.pipeline and config is None:
        raise ConfigError(
            f"There is no tfguard.yml here or above, so no pipeline {options.pipeline}.\n"
            "Write one, or name it with --config FILE."
        )
    flags: dict[tuple[str | int, ...], tuple[str, str]] = {}
    if options.lock_timeout:
        flags["lock", "timeout"] = (options.lock_timeout, "--lock-timeout")
    found = settings.resolve(config, options.pipeline, directory=directory, environ=environ, flags=flags)
    log.register_secrets(log.secrets_among({**found.environment, **found.backend_config}))
    binary = find_binary(environ, flag=options.terraform, kind=found.binary, self_path=Path(sys.argv[0]))
    child_environ = {**environ, **found.environment}
    if not os.isatty(0):
        child_environ.setdefault("TF_IN_AUTOMATION", "1")
        child_environ.setdefault("TF_INPUT", "0")
    return Context(options, found, binary, child_environ, identify(environ), report, current)


def find_target(context: Context, invocation: Invocation) -> Target | Unlockable:
    """Find the lock for this call: Terraform's own, or the named one. Raises ConfigError."""
    lock = context.settings.lock
    if lock.mode == "named":
        return named_target(context, lock.name or "", lock.store or "")
    target = resolve_target(context.workdir(), invocation, context.environ)
    if isinstance(target, Target):
        log.register_secrets(secrets_of(target))
        return structs.replace(target, label=context.label(target))
    return target


def secrets_of(target: Target) -> list[str]:
    """What the backend's own configuration holds that must never be printed."""
    found: list[str] = []
    for spec in target.stores:
        if not isinstance(spec, LocalSpec):
            found += [spec.aws.access_key, spec.aws.secret_key, spec.aws.token]
        if isinstance(spec, S3Spec):
            found.append(spec.sse_customer_key)
    return found


def named_target(context: Context, name: str, url: str) -> Target:
    """The lock of the user's own `name` in his own store. Raises ConfigError."""
    from tfguard.backends.urls import parse_store_url

    spec = parse_store_url(url, name, context.environ)
    return Target(label=name, path=name, backend="named", workspace="", stores=(spec,))


def make_task(context: Context, target: Target, invocation: Invocation, *, command: str = "") -> Task:
    """Describe the run to the runner. `command` is what people see; the invocation's words if empty."""
    found, identity = context.settings, context.identity
    timeout = invocation.lock_timeout_seconds
    origin = " ".join(part for part in (identity.run, identity.link) if part)
    is_plan = invocation.words == ("plan",)
    return Task(
        subject=context.subject(target),
        target=target,
        terms=Terms(
            timeout_seconds=found.lock.timeout_seconds if timeout is None else timeout,
            lease_seconds=found.lock.lease_seconds,
            takeover=found.lock.takeover,
            order=found.lock.order,
            run_timeout_seconds=found.run_timeout_seconds,
            orphan_timeout_seconds=float(context.environ.get("TFGUARD_TEST_ORPHAN_TIMEOUT", 1800)),
        ),
        holder=Holder(who=identity.who, command=command or invocation.display, run=identity.run, link=identity.link),
        operation=invocation.command.operation if invocation.command and not command else command,
        is_changing=invocation.command.is_changing if invocation.command else True,
        environ=context.environ,
        directory=str(context.directory),
        binary=str(context.binary.path),
        version=binary_version(context.binary, context.environ, cache_dir(context.environ)),
        info=f"tfguard {__version__}" + (f", {origin}" if origin else ""),
        is_plan=is_plan,
        record=_record(context, target, command or invocation.display),
        record_path=str(context.report.page.record) if context.report.page else run_record.new_path(context.environ),
        state_directory=found.directory,
        push_argv=_push_argv(context, target, invocation),
        pushed_file=_pushed_file(context, invocation),
        plan_file=os.path.join(found.directory, invocation.plan_file) if invocation.plan_file else "",
        ignores_errored=context.options.ignores_errored or invocation.words == ("state", "push"),
        success_codes=frozenset({0, 2}) if is_plan and invocation.is_set("detailed-exitcode") else frozenset({0}),
    )


def _push_argv(context: Context, target: Target, invocation: Invocation) -> tuple[str, ...]:
    """The command that pushes a state under this very lock; none where it would push to another state."""
    if target.backend == "named":
        return (*context.terraform, "state", "push", "-lock-timeout=60s")
    if invocation.plan_file is not None:
        try:
            own = resolve_target(context.workdir(), parse(("apply",), {}), context.environ)
        except ConfigError:
            return ()
        if not isinstance(own, Target) or (own.path, own.stores) != (target.path, target.stores):
            return ()
    return (*context.terraform, "state", "push", "-lock=false")


def _pushed_file(context: Context, invocation: Invocation) -> str:
    """The file that `state push errored.tfstate` pushes, empty for any other command."""
    if invocation.words != ("state", "push") or len(invocation.positionals) != 1:
        return ""
    path = os.path.join(context.settings.directory, invocation.positionals[0])
    return path if os.path.basename(path) == UNSAVED_STATE else ""


def _record(context: Context, target: Target, command: str) -> run_record.RunRecord:
    """What a later `settle` has to know of this run."""
    bare, is_stripped = run_record.without_secrets(target)
    return run_record.RunRecord(
        label=context.label(target),
        again=context.options.again,
        target=bare,
        is_stripped=is_stripped,
        directory=context.settings.directory,
        pipeline=context.options.pipeline or "",
        config=os.path.abspath(context.options.config) if context.options.config else "",
        choosers=run_record.choosers(context.environ),
        who=context.identity.who,
        command=command,
        run=context.identity.run,
        lease_seconds=context.settings.lock.lease_seconds,
    )


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Where we remember what is slow to ask: the binary's version."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "/tmp", ".cache")  # noqa: S108
    return Path(home) / "tfguard"
