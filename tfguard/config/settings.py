"""
What holds for one run: flags over the environment over the pipeline over `defaults` over what is built in.

All of it is resolved here, once: paths absolute, durations in seconds, variables put in, and for every value the place
it comes from. Settings hold secrets (`env`, `vars`, `backend_config`): their `repr` shows none, and nobody logs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from tfguard.config.document import KeyPath, Problem, clip, dotted, shown_path
from tfguard.config.file import Config, Leaf, Leaves, nested, overlay, shown_value
from tfguard.config.keys import Step, keys, top_level
from tfguard.config.rules import combination_findings, value_findings
from tfguard.config.schema import HIDDEN, KeyFinding, pipeline_findings
from tfguard.config.variables import UnsetVariable, expand, has_variables
from tfguard.durations import parse_duration
from tfguard.errors import NAMED, ConfigError, UsageError
from tfguard.files import absolute
from tfguard.hcl import hcl, terraform_variable
from tfguard.lock.deadlines import shortest_lease_seconds
from tfguard.lock.protocol import LockTerms
from tfguard.terraform.commands import find

_NOWHERE = Leaf(None, "built in")

Flags = Mapping[KeyPath, tuple[str, str]]


class LockSettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which lock, and whether a plan takes it. `name` is set exactly if `mode` is named, and then `store` is.

    In `state` mode `store` is for the lease of a lock that has no room for one.
    """

    mode: Literal["state", "named"]
    plan: Literal["wait", "skip"]
    store: str | None = None
    name: str | None = None


class InitRetry(msgspec.Struct, frozen=True, kw_only=True):
    """How often `init` is tried, and which errors beside the built-in ones are worth it (regular expressions)."""

    attempts: int
    patterns: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything one run has to know. Paths are absolute, but for `data_dir` and `paths`.

    `data_dir` is Terraform's TF_DATA_DIR, relative to `directory`, where the pipeline shares its directory with
    another; None leaves it to Terraform. `var_files_written` is what messages show of `var_files`: variables not put
    in. `environment` is what the child gets on top of ours: `env`, TF_VAR_*, TF_WORKSPACE, TF_DATA_DIR. `paths` are
    globs relative to tfguard.yml. `origins` tells for each dotted key where its value comes from.
    """

    pipeline: str | None
    config_file: str | None
    directory: str
    data_dir: str | None
    workspace: str | None
    binary: Literal["terraform", "tofu"] | None
    init: Literal["auto", "never"]
    backend_config: dict[str, Any]
    backend_config_files: tuple[str, ...]
    var_files: tuple[str, ...]
    var_files_written: tuple[str, ...]
    args: dict[str, tuple[str, ...]]
    environment: dict[str, str]
    steps: tuple[Step, ...]
    approve: Literal["prompt", "auto"]
    paths: tuple[str, ...]
    retry: InitRetry
    lock: LockSettings
    terms: LockTerms
    origins: dict[str, str]

    def __repr__(self) -> str:
        return f"Settings(pipeline={self.pipeline!r}, directory={self.directory!r}, …)"


def resolve(
    config: Config | None,
    pipeline: str | None,
    *,
    directory: Path,
    environ: Mapping[str, str],
    flags: Flags | None = None,
) -> Settings:
    """
    Return what holds for one run.

    `directory` is where a run without a pipeline works. `flags` are values by key, each with how it was spelled:
    `{("lock", "timeout"): ("30s", "--lock-timeout")}`. Without a pipeline, of `defaults` only what says how to lock
    and run holds, never variables, backends, directories or arguments: nobody asked for those.

    Raises:
        ConfigError: No such pipeline, a variable that is not set, a value that cannot be.

        UsageError: The value comes from a flag.
    """
    leaves = resolved(config, pipeline, environ=environ, flags=flags)
    return _settings(config, pipeline, leaves, directory, environ)


def resolved(
    config: Config | None, pipeline: str | None, *, environ: Mapping[str, str], flags: Flags | None = None
) -> Leaves:
    """Return every value that holds, variables put in, with its origin: secrets too. Raises as `resolve` does."""
    leaves = {path: Leaf(key.default, "built in") for path, key in keys().items() if key.default is not None}
    overlay(leaves, _expanded(config, _written(config, pipeline), environ).items())
    # An empty variable counts as unset, because CI systems pass inputs that nobody gave as empty ones.
    named = ((path, key.environment) for path, key in keys().items() if key.environment)
    overlay(leaves, [(path, Leaf(environ[name], name)) for path, name in named if environ.get(name)])
    overlay(leaves, [(path, Leaf(value, spelled)) for path, (value, spelled) in (flags or {}).items()])
    for path in [path for path, leaf in leaves.items() if leaf.value is None]:
        del leaves[path]  # `x: null` takes back what the defaults set
    _check(config, leaves, environ, frozenset(flags or ()))
    return leaves


def var_file_arguments(settings: Settings, words: Sequence[str], *, has_plan_file: bool = False) -> list[str]:
    """
    Return the `-var-file` arguments for a command, none for one that takes none: a saved plan has its variables inside.

    Raises:
        ConfigError: One of the files is not there.
    """
    command = find(words)
    if command is None or not command.takes_var_files or has_plan_file:
        return []
    for file, written in zip(settings.var_files, settings.var_files_written):
        if not os.path.isfile(file):
            origin = settings.origins.get("var_files", "var_files")
            raise ConfigError(
                f"{clip(origin, 42)}: no such file: {clip(written, 50)}\nPaths begin at tfguard.yml's folder."
            )
    return [f"-var-file={file}" for file in settings.var_files]


def backend_config_text(settings: Settings) -> str:
    """
    Write the map `backend_config` as the file that `init -backend-config=FILE` reads; empty without one.

    A file, because the values may be secrets and an argument can be read by everybody on the machine.
    """
    return "".join(f"{key} = {hcl(value)}\n" for key, value in settings.backend_config.items())


def _written(config: Config | None, pipeline: str | None) -> Leaves:
    if config is None:
        if pipeline is not None:
            raise ConfigError(
                f"There is no tfguard.yml here, so no pipeline {clip(pipeline, 40)}.\n"
                "Write one, name it with --config, or run without a pipeline."
            )
        return {}
    if pipeline is None:
        everywhere = top_level("holds_everywhere")
        return {path: leaf for path, leaf in config.defaults().items() if path[0] in everywhere}
    config.require(pipeline)
    return config.merged(pipeline)


def _expanded(config: Config | None, leaves: Leaves, environ: Mapping[str, str]) -> Leaves:
    expanded = {}
    for path, leaf in leaves.items():
        try:
            expanded[path] = leaf._replace(value=expand(leaf.value, environ))
        except UnsetVariable as error:
            what = f"the variable {clip(error.name, 40)} is not set"
            advice = f"Set it, or give a default: ${{{clip(error.name, 40)}:-value}}."
            problem = Problem(_place(config, leaf), dotted(leaf.at or path), what, advice)
            raise ConfigError(str(problem), about=_about(leaf)) from error
    return expanded


def _place(config: Config | None, leaf: Leaf, inside: KeyPath = ()) -> str:
    return config.document.where((*leaf.at, *inside)) if config and leaf.at else leaf.origin


def _about(leaf: Leaf) -> str | None:
    """Whom a problem with this value is about: its place in the file says it, if it stands there."""
    return NAMED if leaf.at else None


def _check(config: Config | None, leaves: Leaves, environ: Mapping[str, str], flags: frozenset[KeyPath]) -> None:
    data = nested(leaves)
    own = frozenset(path for path, leaf in leaves.items() if not leaf.at or leaf.at[0] == "pipelines")
    for finding in pipeline_findings(data):
        _refuse(config, leaves, finding, flags)
    for finding in value_findings(data, is_raw=False, shortest_lease=shortest_lease_seconds(environ)):
        _refuse(config, leaves, finding, flags)
    for finding in combination_findings(data, own):
        _refuse(config, leaves, finding, flags)


def _refuse(config: Config | None, leaves: Leaves, finding: KeyFinding, flags: frozenset[KeyPath]) -> NoReturn:
    path = next((finding.path[:end] for end in range(len(finding.path), 0, -1) if finding.path[:end] in leaves), ())
    leaf = leaves.get(path, Leaf(None, "the command line"))
    inside = finding.path[len(path) :]
    if leaf.at and finding.value is not HIDDEN:
        finding = finding._replace(value=_written_text(config, leaf, inside))
    what = finding.what + shown_value(finding, path)
    key = dotted((*leaf.at, *inside) if leaf.at else finding.path)
    problem = Problem(_place(config, leaf, inside), key, what, finding.advice)
    raise (UsageError if path in flags else ConfigError)(str(problem), about=_about(leaf))


def _written_text(config: Config | None, leaf: Leaf, inside: KeyPath = ()) -> Any:
    """Return what stands in the file rather than what its variables hold; None where it does not come from there."""
    if config is None or leaf.at is None:
        return None
    value: Any = config.data
    for step in (*leaf.at, *inside):
        value = value[step]
    return value


def _no_such_directory(config: Config | None, leaf: Leaf, work: str) -> ConfigError:
    text = str(_written_text(config, leaf) or work)
    looked = (
        f"Looked for {text if has_variables(text) else shown_path(Path(work))}; paths begin at tfguard.yml's folder."
    )
    problem = Problem(_place(config, leaf), dotted(leaf.at or ("dir",)), "no such directory", looked)
    return ConfigError(str(problem), about=_about(leaf))


def _settings(
    config: Config | None, pipeline: str | None, leaves: Leaves, directory: Path, environ: Mapping[str, str]
) -> Settings:
    data = nested(leaves)
    root = config.root if config else directory
    work = _absolute(root, data["dir"]) if pipeline is not None else str(directory.absolute())
    if pipeline is not None and not os.path.isdir(work):
        raise _no_such_directory(config, leaves["dir",], work)
    data_dir = _data_dir(config, pipeline, work, data, environ) if config and pipeline is not None else None
    files, retry = data.get("backend_config", ()), data["retry"]["init"]
    written = _written_text(config, leaves.get(("var_files",), _NOWHERE)) or data.get("var_files", ())
    return Settings(
        pipeline=pipeline,
        config_file=str(config.path) if config else None,
        directory=work,
        data_dir=data_dir,
        workspace=data.get("workspace"),
        binary=data.get("binary"),
        init=data["init"],
        backend_config=files if isinstance(files, dict) else {},
        backend_config_files=tuple(_absolute(root, file) for file in files) if isinstance(files, list) else (),
        var_files=tuple(_absolute(root, file) for file in data.get("var_files", ())),
        var_files_written=tuple(written),
        args={command: tuple(arguments) for command, arguments in data.get("args", {}).items()},
        environment=_environment(data, data_dir),
        steps=tuple(data["steps"]),
        approve=data["approve"],
        paths=tuple(data.get("paths", ())),
        retry=InitRetry(attempts=int(retry["attempts"]), patterns=tuple(retry.get("patterns", ()))),
        lock=_lock(data["lock"], root if leaves.get(("lock", "store"), _NOWHERE).at else directory),
        terms=_terms(data),
        origins={dotted(path): leaf.origin for path, leaf in leaves.items()},
    )


def _lock(lock: dict[str, Any], root: Path) -> LockSettings:
    is_named = lock["mode"] == "named"
    return LockSettings(
        mode=lock["mode"],
        plan=lock["plan"],
        store=_store(lock["store"], root) if lock.get("store") else None,
        name=lock["name"] if is_named else None,
    )


def _terms(data: dict[str, Any]) -> LockTerms:
    lock = data["lock"]
    return LockTerms(
        timeout_seconds=parse_duration(str(lock["timeout"])),
        lease_seconds=parse_duration(str(lock["lease"])),
        freeze_timeout_seconds=parse_duration(str(lock["freeze_timeout"])),
        takeover=lock["takeover"],
        order=lock["order"],
        run_timeout_seconds=parse_duration(str(data["run_timeout"])) if "run_timeout" in data else None,
    )


def _store(url: str, root: Path) -> str:
    """Return a store's URL; a plain path becomes one, so that it means the same wherever tfguard is started."""
    return url if urlsplit(url).scheme else "file://" + quote(_absolute(root, url))


def _environment(data: dict[str, Any], data_dir: str | None) -> dict[str, str]:
    environment = dict(data.get("env", {}))
    environment.update({f"TF_VAR_{name}": terraform_variable(value) for name, value in data.get("vars", {}).items()})
    if "workspace" in data:
        environment["TF_WORKSPACE"] = data["workspace"]
    if data_dir:
        environment["TF_DATA_DIR"] = data_dir
    return environment


def _data_dir(config: Config, pipeline: str, work: str, data: dict[str, Any], environ: Mapping[str, str]) -> str | None:
    """
    Return the data directory of a pipeline that shares its directory: its own, below the one Terraform would use.

    A slash in its name is written %2F: as a folder, `prod/modules` would lie in the middle of the data of `prod`.
    """
    if "TF_DATA_DIR" in data.get("env", {}):
        return str(data["env"]["TF_DATA_DIR"])
    others = (_directory(config, name, environ) for name in config.names if name != pipeline)
    if os.path.realpath(work) not in others:
        return None
    return os.path.join(environ.get("TF_DATA_DIR") or ".terraform", "pipelines", quote(pipeline, safe=" +,=@"))


def _directory(config: Config, name: str, environ: Mapping[str, str]) -> str:
    """Return the directory of a pipeline that is not used now; empty if its variables are not set."""
    written = config.merged(name).get(("dir",), Leaf(".", "")).value
    try:
        return os.path.realpath(_absolute(config.root, expand(written, environ)))
    except UnsetVariable:
        return ""


def _absolute(root: Path, path: str) -> str:
    return str(absolute(root / os.path.expanduser(path)))
