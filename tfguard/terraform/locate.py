"""
From a working directory and a command to the lock that Terraform itself would take.

| backend | the lock                                                                  | label             |
|---------|---------------------------------------------------------------------------|-------------------|
| s3      | `<key>.tflock` in the bucket and/or the item `<bucket>/<key>` in the table | `<bucket>/<key>`  |
| local   | the kernel's lock on the state file                                       | the state's path  |
| others  | none that a wrapper can hold: `named` mode                                |                   |

Nothing is asked over the network here, and nothing is created.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from tfguard.backends.aws.attributes import Settings, aws_access, endpoint
from tfguard.errors import ConfigError
from tfguard.lock.lockinfo import printable
from tfguard.lock.names import LOCK_SUFFIX
from tfguard.lock.store import DynamoDBSpec, LocalSpec, S3Spec, StoreSpec, Target, WorkspaceProbe
from tfguard.terraform.command_line import Invocation
from tfguard.terraform.plan_file import PlannedBackend, UnreadablePlan, read_planned_backend
from tfguard.terraform.workdir import WorkingDirectory, absolute, is_workspace_name

#: Where the states of workspaces stand unless the backend says otherwise.
DEFAULT_PREFIX = "env:"

#: Why no store of ours can hold the lock of these backends while Terraform runs.
_WHY_NOT = {
    "azurerm": "without it Terraform cannot write",
    "cloud": "HCP Terraform keeps it",
    "remote": "HCP Terraform keeps it",
    "http": "only the server knows what it is",
}


@dataclass(frozen=True)
class Unlockable:
    """
    There is no lock here that tfguard could hold. Terraform may run untouched, unless `needs_lock`.

    `reason` is for people: what is so, and where there is something to do, that on further lines. `needs_lock`: there
    is a state to guard, and running without our lock would break the promise that the user relies on.
    """

    reason: str
    needs_lock: bool = False


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
    if target.backend == "local" and not Path(workdir.directory, target.path).parent.is_dir():
        # Locking it would create its directory, and with it the workspace.
        return Unlockable(f"there is no workspace {names[0]}")
    # Nor must it be created first on S3: if it is missing, Terraform says so.
    return structs.replace(target, probe=None)


def _of_plan(workdir: WorkingDirectory, name: str, environ: Mapping[str, str]) -> Target | Unlockable:
    planned = read_planned_backend(workdir.directory / name)
    if isinstance(planned, UnreadablePlan):
        return Unlockable(f"{printable(name, 60)}: {planned.reason}")
    # Up to 1.14 Terraform applies in the directory's workspace, whatever the plan says; later it refuses a mismatch.
    return _resolve(workdir, planned, workdir.workspace(), environ, source=f"plan {printable(name, 40)}")


def _of_directory(workdir: WorkingDirectory, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    require_initialised(workdir)
    cache = workdir.backend
    planned = PlannedBackend(cache.type, cache.config, workspace) if cache else PlannedBackend("local", {}, workspace)
    return _resolve(workdir, planned, workspace, environ, source=_shown(workdir.cache_path))


def require_initialised(workdir: WorkingDirectory) -> None:
    """
    Make sure that what the cache says is what Terraform would use.

    Raises:
        ConfigError: No Terraform directory, or `init` has not been run, or was run for another type of backend.
    """
    where = _shown(workdir.directory)
    if not workdir.is_terraform_directory:
        raise ConfigError(
            f"{where} holds no Terraform configuration.\n"
            "Run tfguard where the .tf files are, or name their directory: tfguard -chdir=DIR …"
        )
    if workdir.backend is None and workdir.declared:
        raise ConfigError(f"{where} is not initialised for its {workdir.declared[0]} backend.\nRun: tfguard init")
    if workdir.backend is not None and workdir.declared and workdir.backend.type not in workdir.declared:
        cached, declared = printable(workdir.backend.type, 20), printable(workdir.declared[0], 20)
        raise ConfigError(
            f"{where} was initialised for {cached}; its configuration now says {declared}.\n"
            "Run: tfguard init -reconfigure (or -migrate-state, to take the state along)"
        )


def _shown(path: Path) -> str:
    text = printable(str(path), 4096)
    return text if len(text) <= 50 else "…" + text[-49:]


def _resolve(
    workdir: WorkingDirectory, backend: PlannedBackend, workspace: str, environ: Mapping[str, str], *, source: str
) -> Target | Unlockable:
    settings = Settings(backend.config, source)
    if backend.type == "s3":
        return _s3(settings, workspace, environ)
    if backend.type == "local":
        return _local(settings, workdir.directory, workspace)
    kind = printable(backend.type, 20)
    why = _WHY_NOT.get(backend.type, "it has no store for it")
    return Unlockable(
        f"tfguard cannot hold the lock of the {kind} backend: {why}.\n"
        "To guard this state, set in tfguard.yml: lock: {mode: named, name: …, store: …}",
        needs_lock=True,
    )


def state_key(key: str, prefix: str, workspace: str) -> str:
    """Give the key of a workspace's state, joined and cleaned as Go's path.Join does."""
    if workspace == "default":
        return key
    joined = posixpath.normpath("/".join(part for part in (prefix, workspace, key) if part))
    return joined[1:] if joined.startswith("//") else joined


def _s3(settings: Settings, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    table, use_lockfile = settings.text("dynamodb_table"), settings.flag("use_lockfile")
    if not table and not use_lockfile:
        return Unlockable(
            "the s3 backend has no lock configured, so nobody can be kept out.\n"
            "Set use_lockfile = true in its backend block and run: tfguard init -reconfigure\n"
            "To run without a lock nevertheless: -lock=false",
            needs_lock=True,
        )
    bucket, key = settings.required("bucket"), settings.required("key")
    prefix = settings.text("workspace_key_prefix") if settings.is_given("workspace_key_prefix") else DEFAULT_PREFIX
    object_key = state_key(key, prefix, workspace)
    tflock = lock_object(settings, object_key, environ)
    stores: list[StoreSpec] = []
    if use_lockfile:
        stores.append(tflock)
    if table:
        dynamodb = endpoint(settings, "dynamodb", environ)
        lock_id = f"{bucket}/{object_key}"
        stores.append(DynamoDBSpec(table=table, lock_id=lock_id, aws=tflock.aws, endpoint=dynamodb))
    probe = WorkspaceProbe(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        state_key=object_key,
        workspace=workspace,
        aws=tflock.aws,
        endpoint=tflock.endpoint,
        use_path_style=tflock.use_path_style,
    )
    path = f"{bucket}/{object_key}"
    return Target(
        label=printable(path),
        path=path,
        backend="s3",
        workspace=workspace,
        stores=tuple(stores),
        # Terraform takes the default workspace for existing, always.
        probe=None if workspace == "default" else probe,
        state=structs.replace(tflock, key=object_key),
    )


def lock_object(settings: Settings, object_key: str, environ: Mapping[str, str]) -> S3Spec:
    """Describe the `.tflock` object of a state, and with it how to reach its bucket."""
    path_style = settings.flag("use_path_style")
    return S3Spec(
        bucket=settings.required("bucket"),
        key=object_key + LOCK_SUFFIX,
        aws=aws_access(settings, environ),
        endpoint=endpoint(settings, "s3", environ),
        use_path_style=bool(settings.flag("force_path_style") if path_style is None else path_style),
        encrypt=settings.flag("encrypt") or False,
        kms_key_id=settings.text("kms_key_id"),
        sse_customer_key=settings.text("sse_customer_key") or environ.get("AWS_SSE_CUSTOMER_KEY", ""),
        acl=settings.text("acl"),
        skip_checksum=settings.flag("skip_s3_checksum") or False,
    )


def _local(settings: Settings, directory: Path, workspace: str) -> Target:
    if workspace == "default":
        shown = settings.text("path") or "terraform.tfstate"
    else:
        # `path` is for the default workspace only.
        shown = os.path.normpath(
            os.path.join(settings.text("workspace_dir") or "terraform.tfstate.d", workspace, "terraform.tfstate")
        )
    path = str(absolute(directory / shown))
    label = shown if os.path.isabs(shown) else f"{directory.name}/{shown}"
    return Target(
        label=printable(label), path=shown, backend="local", workspace=workspace, stores=(LocalSpec(path=path),)
    )
