"""
From a working directory and a command to the lock that Terraform itself would take.

| backend | the lock                                                                  | label             |
|---------|---------------------------------------------------------------------------|-------------------|
| s3      | `<key>.tflock` in the bucket and/or the item `<bucket>/<key>` in the table | `<bucket>/<key>`  |
| local   | the kernel's lock on the state file                                       | the state's path  |
| others  | as the backend's own `locate` says; without one, none: `named` mode       |                   |

Nothing is created here, and nothing asked over the network, but HCP Terraform: where it executes a workspace's runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from tfguard.backends import locate
from tfguard.backends.target import PlannedBackend, Target, Unlockable
from tfguard.errors import NAMED, ConfigError, NotInitialised, TfguardCommand
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.plan_file import UnreadablePlan, read_planned_backend
from tfguard.terraform.workdir import WorkingDirectory, is_workspace_name
from tfguard.text import printable


def resolve_target(
    workdir: WorkingDirectory, invocation: Invocation, environ: Mapping[str, str]
) -> Target | Unlockable:
    """
    Find the lock that Terraform would take for this call.

    `apply FILE` is judged by what the plan names, `workspace delete NAME` by that workspace, the rest by the selected
    workspace. Target.probe is set where Terraform might create the workspace under a lock of its own.

    Raises:
        ConfigError: The directory is not initialised, or for another backend, or its files cannot be read.
    """
    if invocation.plan_file is not None:
        return _of_plan(workdir, invocation.plan_file, environ)
    if invocation.words == ("workspace", "delete"):
        return _of_deleted(workdir, invocation.positionals, environ)
    return _of_directory(workdir, workdir.workspace(), environ)


def _of_deleted(workdir: WorkingDirectory, names: tuple[str, ...], environ: Mapping[str, str]) -> Target | Unlockable:
    if len(names) != 1 or not is_workspace_name(names[0]):
        return Unlockable("workspace delete needs the name of one workspace")
    target = _of_directory(workdir, names[0], environ)
    if isinstance(target, Unlockable):
        return target
    if any(spec.makes_workspace() for spec in target.stores):
        return Unlockable(f"there is no workspace {names[0]}")
    # Nor must it be created first: if it is missing, Terraform says so.
    return structs.replace(target, probe=None, stores=tuple(spec.of_deleted() for spec in target.stores))


def _of_plan(workdir: WorkingDirectory, name: str, environ: Mapping[str, str]) -> Target | Unlockable:
    planned = read_planned_backend(workdir.directory / name)
    if isinstance(planned, UnreadablePlan):
        return Unlockable(f"{printable(name, 60)}: {planned.reason}")
    # Up to 1.14 Terraform applies in the directory's workspace, whatever the plan says; later it refuses a mismatch.
    return locate(planned, workdir.directory, workdir.workspace(), environ, source=f"plan {printable(name, 40)}")


def _of_directory(workdir: WorkingDirectory, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    require_initialised(workdir)
    cache = workdir.backend
    planned = PlannedBackend(cache.type, cache.config, workspace) if cache else PlannedBackend("local", {}, workspace)
    return locate(planned, workdir.directory, workspace, environ, source=_shown(workdir.cache_path))


def require_initialised(workdir: WorkingDirectory) -> None:
    """
    Make sure that what the cache says is what Terraform would use.

    Raises:
        ConfigError: No Terraform directory, or `init` has not been run, or was run for another type of backend.
    """
    where = _shown(workdir.directory)
    if not workdir.is_terraform_directory:
        raise ConfigError(
            f"{where} holds no Terraform configuration.",
            "Run tfguard where the .tf files are, or name their directory: tfguard -chdir=DIR …",
            about=NAMED,
        )
    if workdir.backend is None and workdir.declared:
        what = f"{where} is not initialised for its {workdir.declared[0]} backend."
        raise NotInitialised(what, TfguardCommand("init"), about=NAMED)
    if workdir.backend is not None and workdir.declared and workdir.backend.type not in workdir.declared:
        cached, declared = printable(workdir.backend.type, 20), printable(workdir.declared[0], 20)
        raise ConfigError(
            f"{where} was initialised for {cached}; its configuration now says {declared}.",
            TfguardCommand("init -reconfigure (or -migrate-state, to take the state along)"),
            about=NAMED,
        )


def _shown(path: Path) -> str:
    text = printable(str(path), 4096)
    return text if len(text) <= 50 else "…" + text[-49:]
