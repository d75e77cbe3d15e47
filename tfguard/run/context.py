"""
What a command works on: the settings that hold, the binary, the working directory, who we are.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from tfguard import files, redaction
from tfguard.backends.target import Target, Unlockable
from tfguard.ci.identity import Identity, identify
from tfguard.config import settings
from tfguard.config.file import HOW_TO_HAVE_ONE, Config, find_config, load
from tfguard.config.options import Options
from tfguard.config.settings import Settings
from tfguard.errors import ConfigError, TfguardError
from tfguard.process.terminal import has_input
from tfguard.report.messages import phrases
from tfguard.report.reporter import Reporter
from tfguard.run.call import Call, NamedLock
from tfguard.terraform.binary import Binary, binary_version, find_binary, reads_tofu
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.locate import resolve_target
from tfguard.terraform.workdir import WorkingDirectory


@dataclass(frozen=True)
class Context:
    """
    One call of tfguard, resolved. `environ` is what Terraform gets, before the lock's own variables.

    `current` is where we were called: Terraform runs there with its `-chdir`, or in the pipeline's directory. `pinned`
    is the real path of the directory that it works in, where links lead there that somebody may switch. `find_binary`
    looks for Terraform once, and raises what there is to say; what is about a named lock need never ask.
    """

    options: Options
    settings: Settings
    find_binary: Callable[[], Binary]
    environ: Mapping[str, str]
    identity: Identity
    report: Reporter
    current: Path
    named: NamedLock | None = None
    pinned: str = ""

    @property
    def binary(self) -> Binary:
        """The Terraform that runs. Raises ProgramNotFound, ProgramNotExecutable, ConfigError."""
        return self.find_binary()

    @property
    def has_binary(self) -> bool:
        """Whether there is a Terraform that can run."""
        try:
            self.find_binary()
        except TfguardError:
            return False
        return True

    @property
    def work_directory(self) -> str:
        """Where Terraform works: what it leaves behind lies there."""
        return self.pinned or self.settings.directory

    @property
    def directory(self) -> Path:
        """Where the child is started: with `-chdir`, Terraform itself changes its directory."""
        return Path(self.work_directory) if self.settings.pipeline else self.current

    @property
    def terraform(self) -> list[str]:
        """The program, and `-chdir` where the user gave it."""
        chdir = None if self.settings.pipeline or not self.options.chdir else self.pinned or self.options.chdir
        return [str(self.binary.path), *([f"-chdir={chdir}"] if chdir else [])]

    def workdir(self) -> WorkingDirectory:
        """Look at the working directory now (again after an init)."""
        return WorkingDirectory.at(Path(self.settings.directory), None, self.environ, self._reads_tofu)

    @property
    def guesses_tofu(self) -> bool:
        """Whether nothing says if OpenTofu or Terraform works here: there is none, and the settings name none."""
        return not (self.has_binary or self._named_kind)

    @property
    def _named_kind(self) -> str:
        return self.settings.binary or self.options.stands_for or ""

    def _reads_tofu(self) -> bool:
        if not self.has_binary:  # Whoever has written `.tofu` files has an OpenTofu that reads them.
            return self._named_kind != "terraform"
        return self.binary.kind == "tofu" and reads_tofu(
            binary_version(self.binary, self.environ, cache_dir(self.environ))
        )

    def label(self, target: Target | None = None) -> str:
        """The pipeline's name, else the state's, else the directory."""
        if self.settings.pipeline:
            return self.settings.pipeline
        return target.label if target else self.settings.directory

    def subject(self, target: Target) -> phrases.Subject:
        """Say what messages about this lock are about, and which commands they may recommend."""
        lock_options = self.named.options if self.named else ""
        takeover = self.settings.terms.takeover
        program = phrases.PROGRAM if self.options.command[:1] == ("exec",) else phrases.TERRAFORM
        return phrases.Subject(self.label(target), self.options.again, target.is_local, lock_options, takeover, program)


def make_context(call: Call, *, config: Config | None = None, needs_binary: bool = True) -> Context:
    """
    Resolve configuration, binary and identity. `config` is the file where it has been read already.

    No binary is looked for yet where the call names a lock of its own, or only looks (`needs_binary`).

    Raises:
        ConfigError, UsageError, ProgramNotFound, ProgramNotExecutable: As found.
    """
    options, environ = call.options, call.environ
    if options.pipeline and options.chdir:
        raise ConfigError(
            "-p and -chdir exclude each other: a pipeline has its own `dir`.",
            f"Say one of: tfguard -p {options.pipeline} …, tfguard -chdir={options.chdir} …",
        )
    current = Path.cwd()
    directory = files.absolute(current / (options.chdir or ""))
    if config is None and (path := find_config(directory, options.config, environ)):
        config = load(path, environ)
    if options.pipeline and config is None:
        raise ConfigError(
            f"There is no tfguard.yml here or above, so no pipeline {options.pipeline}.",
            HOW_TO_HAVE_ONE,
        )
    found = settings.resolve(config, options.pipeline, directory=directory, environ=environ, flags=options.flags)
    redaction.register_secrets(redaction.secrets_among({**found.environment, **found.backend_config}))
    kind, self_path = found.binary or options.stands_for, Path(sys.argv[0])
    search = functools.cache(lambda: find_binary(environ, flag=options.terraform, kind=kind, self_path=self_path))
    if needs_binary and call.named is None:
        search()
    identity = identify(environ)
    child_environ = {**_automation(call, found, identity), **environ, **found.environment}
    return Context(options, found, search, child_environ, identity, call.report, current, call.named)


def _automation(call: Call, found: Settings, identity: Identity) -> dict[str, str]:
    """
    What Terraform is to know of a job that nobody watches, unless the user says so, or otherwise: it advises nobody.

    Elsewhere it is left as it is: what it prints then, and what it reads from a pipe, is what a plain Terraform would.
    """
    is_ours = identity.is_ci or call.report.page is not None or found.pipeline is not None
    # In `tfguard run` the next step is ours, whoever watches: Terraform must not advise to apply a plan of ours.
    applies_itself = call.options.command[:1] == ("run",)
    made = {"TF_IN_AUTOMATION": "1"} if applies_itself or (is_ours and not os.isatty(0)) else {}
    if identity.is_ci and not has_input():
        made["TF_INPUT"] = "0"
    return made


def find_target(
    context: Context, invocation: Invocation, workdir: WorkingDirectory | None = None
) -> Target | Unlockable:
    """
    Find the lock for this call: Terraform's own, or the named one. `workdir` is the directory where it was looked at.

    Raises: ConfigError.
    """
    lock = context.settings.lock
    if lock.mode == "named":
        return named_target(context, NamedLock(lock.name or "", lock.store or ""))
    target = resolve_target(workdir or context.workdir(), invocation, context.environ)
    if isinstance(target, Target):
        return structs.replace(guarded(context, target), label=context.label(target))
    return target


def guarded(context: Context, target: Target) -> Target:
    """Return the lock with its guard, where it needs one: the user's own store, if there is one, else the backend's."""
    from tfguard.backends.urls import parse_store_url

    redaction.register_secrets(target.secrets())
    *guards, lock = target.stores
    store = context.settings.lock.store
    if not lock.needs_guard or (guards and not store):
        return target
    if not store:
        raise ConfigError(
            f"the lock of the {target.backend} backend has no room for a lease; that needs a store of yours beside it.",
            "Say in tfguard.yml where, for example:",
            "  defaults:",
            "    lock:",
            "      store: s3://my-bucket/tfguard",
            about=context.label(target),
        )
    guard = parse_store_url(store, target.path.partition("://")[2], context.environ)
    if guard.is_kernel_lock:
        raise ConfigError(
            "lock.store is a path, and what the kernel locks on one machine is no guard for a server's lock.",
            "Set it to a store that keeps records, for example s3://my-bucket/tfguard.",
            about=context.label(target),
        )
    redaction.register_secrets(guard.secrets())
    return structs.replace(target, stores=(guard.as_guard(), lock))


def named_target(context: Context, lock: NamedLock) -> Target:
    """Return the lock of the user's own name in the user's own store. Raises ConfigError."""
    from tfguard.backends.urls import parse_store_url

    spec = parse_store_url(lock.store, lock.name, context.environ)
    return Target(label=lock.name, path=lock.name, backend="named", workspace="", stores=(spec,))


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Where we remember what is slow to ask: the binary's version."""
    home = environ.get("XDG_CACHE_HOME") or (os.path.join(environ["HOME"], ".cache") if environ.get("HOME") else "")
    return Path(home, "tfguard") if home else Path(tempfile.gettempdir(), f"tfguard-{os.geteuid()}")
