"""
The Terraform binary: which one runs, seen through wrappers that would keep signals from it, and its version.

| found                                  | what we do           | why                                                  |
|----------------------------------------|----------------------|------------------------------------------------------|
| a binary                               | run it               |                                                      |
| a shell shim (tfenv, asdf, mise)       | run it               | it execs: the pid we signal becomes Terraform        |
| a Node script of setup-terraform/-tofu | run the `-bin` by it | Node forwards no signal, and orphans what it started |
| tfguard under Terraform's name         | look further         | it would start itself without end                    |
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from tfguard import files, programs
from tfguard.errors import NAMED, ConfigError, ProgramNotExecutable, ProgramNotFound
from tfguard.wire import pack, parse, unpack

Kind = Literal["terraform", "tofu"]

KINDS: tuple[Kind, ...] = ("terraform", "tofu")
#: A program in a script, as one writes it: with its whole path.
_ABSOLUTE = re.compile(rb"/[^\s\"'`;&|<>()$]+")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VERSION_TIMEOUT_SECONDS = 10
_MAX_CACHE_BYTES = 1024 * 1024
#: Version managers whose `terraform` is a binary of their own; which version runs depends on the directory.
_MANAGERS = ("tenv", "tfswitch", "mise", "asdf")


class Binary(msgspec.Struct, frozen=True):
    """The program to run, absolute, and whether it is Terraform or OpenTofu."""

    path: Path
    kind: Kind


def find_binary(environ: Mapping[str, str], *, flag: str | None, kind: Kind | None, self_path: Path) -> Binary:
    """
    Find the real binary: the flag, `TFGUARD_TERRAFORM`, then `terraform`, then `tofu` on PATH (only `kind`, if given).

    `self_path` is tfguard's own program, which is never taken, under whatever name it is installed.

    Raises:
        ProgramNotFound: None there; the message says where we looked.

        ProgramNotExecutable: What was named, or the only one there, cannot be run.

        ConfigError: What was named is tfguard itself.
    """
    named = flag or environ.get("TFGUARD_TERRAFORM", "")
    if named:
        source = "--terraform" if flag else "TFGUARD_TERRAFORM"
        return _see_through(_named(named, source, environ, self_path), kind or _kind_of(named), environ)
    blocked: Path | None = None
    for name in (kind,) if kind else KINDS:
        for path in _on_path(name, environ):
            if _is_tfguard(path, self_path):
                continue
            if os.access(path, os.X_OK):
                return _see_through(path, name, environ)
            blocked = blocked or path
    if blocked is not None:
        raise ProgramNotExecutable(
            f"{blocked} cannot be executed.",
            f"Give it execute permission: chmod +x {shlex.quote(str(blocked))}",
            about=NAMED,
        )
    raise ProgramNotFound(_nowhere(kind, environ))


def _named(named: str, source: str, environ: Mapping[str, str], self_path: Path) -> Path:
    candidates = [path for path in _candidates(named, environ) if os.path.isfile(path)]
    if not candidates:
        where = "no such file" if os.sep in named else "not on PATH"
        raise ProgramNotFound(f"{source} names {named}: {where}.\nGive the path of a terraform or tofu binary.")
    # Further along the PATH, where tfguard is linked under that name.
    found = next((path for path in candidates if not _is_tfguard(path, self_path)), candidates[0])
    if _is_tfguard(found, self_path):
        raise ConfigError(f"{source} names {found}, which is tfguard itself.\nGive the path of the real terraform.")
    if not os.access(found, os.X_OK):
        command = f"chmod +x {shlex.quote(named if os.sep in named else str(found))}"
        raise ProgramNotExecutable(f"{source} names {named}, which cannot be executed.\nTry: {command}")
    return found


def names_tfguard(named: str, environ: Mapping[str, str], self_path: Path) -> bool:
    """Whether a name or path, called as by a shell, is tfguard: the program `self_path`, or a script that calls it."""
    found = next((path for path in _candidates(named, environ) if os.path.isfile(path)), None)
    return found is not None and _is_tfguard(found, self_path)


def _candidates(named: str, environ: Mapping[str, str]) -> list[Path]:
    return [Path(named).absolute()] if os.sep in named else list(_on_path(named, environ))


def _kind_of(name: str) -> Kind:
    return "tofu" if "tofu" in Path(name).name.lower() else "terraform"


def _on_path(name: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """
    Return every file of that name on PATH. Relative entries are skipped: a working directory may hold anything.

    So are those that may not be searched, or cannot be, as a shell does.
    """
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(directory, name)
        if path.is_absolute() and os.path.isfile(path):  # `Path.is_file` raises where a folder may not be searched.
            yield path


def _nowhere(kind: Kind | None, environ: Mapping[str, str]) -> str:
    wanted = kind or "terraform or tofu"
    places = environ.get("PATH", os.defpath)
    shown = places if len(places) <= 90 else places[:89] + "…"
    return f"There is no {wanted} on PATH.\nLooked in {shown}\nInstall it, or set TFGUARD_TERRAFORM=/path/to/it"


def _is_tfguard(path: Path, self_path: Path) -> bool:
    """Whether running `path` would run tfguard: the same file, or a script that calls it, under whatever name."""
    ours = os.path.realpath(self_path)
    if os.path.realpath(path) == ours:
        return True
    if not _is_script(path):
        return False
    # The first line names an interpreter, perhaps in a virtual environment that is called tfguard.
    body = re.sub(rb"(?m)^\s*#.*$", b"", _head(path).partition(b"\n")[2])
    if re.search(rb"\btfguard\b", body):
        return True
    return any(os.path.realpath(os.fsdecode(each)) == ours for each in _ABSOLUTE.findall(body))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _is_script(path: Path) -> bool:
    return _head(path).startswith(b"#!")


def _see_through(path: Path, kind: Kind, environ: Mapping[str, str]) -> Binary:
    """Replace the Node wrapper of setup-terraform or setup-opentofu by the binary that it would start."""
    first_line = _head(path).partition(b"\n")[0]
    if not (first_line.startswith(b"#!") and re.search(rb"\bnode\b", first_line)):
        return Binary(path, kind)
    directories = [environ.get(f"{kind.upper()}_CLI_PATH", ""), str(path.parent), str(path.resolve().parent)]
    for directory in filter(os.path.isabs, directories):
        real = Path(directory, f"{kind}-bin")
        if os.path.isfile(real) and os.access(real, os.X_OK):
            return Binary(real, kind)
    raise ProgramNotFound(
        f"{path} is a Node wrapper, and there is no {kind}-bin beside it.",
        f"Set `{kind}_wrapper: false` in the setup step, or TFGUARD_TERRAFORM=/path/to/{kind}",
        about=NAMED,
    )


class _CachedVersion(msgspec.Struct, array_like=True):
    mtime_ns: int
    size: int
    version: str


def binary_version(
    binary: Binary, environ: Mapping[str, str], cache_dir: Path, *, directory: Path | None = None
) -> str:
    """
    Return the binary's version, like `1.11.4`; empty where it cannot be found out. Never raises.

    Remembered in `cache_dir` for as long as the file stays the same, except for shims and version managers, whose
    answer depends on `directory` (the working directory, given to the program as its own).
    """
    try:
        real = binary.path.resolve()
        status = real.stat()
    except (OSError, RuntimeError):
        return ""
    if _is_manager(binary.path, real):
        return _ask_version(binary, environ, directory)
    cache = cache_dir / "versions.json"
    known = _read_versions(cache)
    entry = known.get(str(real))
    if entry is not None and (entry.mtime_ns, entry.size) == (status.st_mtime_ns, status.st_size):
        return entry.version
    version = _ask_version(binary, environ, directory)
    if version:
        known[str(real)] = _CachedVersion(status.st_mtime_ns, status.st_size, version)
        _write_versions(cache, known)
    return version


def reads_tofu(version: str) -> bool:
    """Whether an OpenTofu of this version reads `.tofu` files; one of unknown version is a new one."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is None or (int(match[1]), int(match[2])) >= (1, 8)


def _is_manager(path: Path, real: Path) -> bool:
    return _is_script(real) or real.name in _MANAGERS or os.path.exists(path.parent / "tenv")


def _read_versions(cache: Path) -> dict[str, _CachedVersion]:
    data = files.read_own(cache, _MAX_CACHE_BYTES)
    try:
        return unpack(data, dict[str, _CachedVersion]) if data is not None else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}


def _write_versions(cache: Path, known: Mapping[str, _CachedVersion]) -> None:
    """Replace the file as a whole: of two writers at once one wins, and the other asks Terraform again next time."""
    beside = cache.with_name(f"{cache.name}.{os.getpid()}")
    try:
        files.make_real_folder(cache.parent)
        files.write(beside, pack(known))
        beside.replace(cache)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()


def _ask_version(binary: Binary, environ: Mapping[str, str], directory: Path | None) -> str:
    # Nothing of a pipeline's: its flags are for other commands, and a shim is a shell, which variables make run more.
    plain = programs.environment(environ, for_managers=True)
    try:
        given = {**plain, "CHECKPOINT_DISABLE": "1"}
        said = programs.ask([binary.path, "version", "-json"], given, _VERSION_TIMEOUT_SECONDS, directory=directory)
        answer = parse(said.output, dict[str, object]) if said.status == 0 else {}
    except (OSError, ValueError, msgspec.DecodeError):
        return ""
    match = _VERSION.match(str(answer.get("terraform_version", "")))
    return match[0] if match else ""
