"""
Terraform's working directory: its data directory, the backend it was initialised for, the selected workspace.

The backend's values come from the cache that `init` wrote (`.terraform/terraform.tfstate`): values given as
`-backend-config` exist nowhere else. The `.tf` files only tell whether a backend is declared at all, and which type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tfguard import hcl
from tfguard.errors import NAMED, ConfigError, TfguardCommand
from tfguard.files import absolute
from tfguard.terraform.backend_block import BOM, blocks_of, read_json
from tfguard.text import printable
from tfguard.wire import parse

_MAX_CACHE_BYTES = 4 * 1024 * 1024
_MAX_SOURCE_BYTES = 4 * 1024 * 1024
_CACHE_VERSION = 3
_SUFFIXES = (".tf", ".tf.json")
#: What OpenTofu reads since 1.8, each in place of the file with the suffix at its left.
_TOFU_SUFFIXES = (".tofu", ".tofu.json")
#: What Terraform allows: a name that needs no escaping in a URL's path.
_WORKSPACE = re.compile(r"[A-Za-z0-9_.~$&+=:@-]+")
_REMOVE = TfguardCommand("init", lead="Remove it and run")
_TOFU = re.compile(r"\.tofu(\.json)?$")
_OVERRIDE = re.compile(r"(?:^|_)override\.(?:tf|tofu)(?:\.json)?$")


@dataclass(frozen=True)
class BackendCache:
    """The backend a directory was initialised for. `config` may hold secrets; `path` is where it was read."""

    type: str
    config: Mapping[str, Any] = field(repr=False)
    path: Path


@dataclass(frozen=True)
class WorkingDirectory:
    """
    One directory as Terraform sees it. `directory` and `data_dir` are absolute.

    What is read is kept for the object's lifetime: make a new one after an `init`. `reads_tofu` says whether the
    program reads `.tofu` files; it is asked only where there are some.
    """

    directory: Path
    data_dir: Path
    selected: str = ""
    reads_tofu: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)

    @classmethod
    def at(
        cls,
        current: Path,
        chdir: str | None,
        environ: Mapping[str, str],
        reads_tofu: Callable[[], bool] = lambda: False,
    ) -> WorkingDirectory:
        """
        Describe the directory that a Terraform started in `current` with `-chdir=chdir` works in.

        Raises:
            ConfigError: There is no such directory.
        """
        directory = absolute(current / (chdir or ""))
        if not directory.is_dir():
            raise ConfigError(f"There is no directory {_shown(directory)}.\nCheck `dir` in tfguard.yml, or -chdir.")
        # Terraform joins it with the names inside, which drops `..` by text: `link/../data` is `data` there.
        data_dir = absolute(directory / os.path.normpath(environ.get("TF_DATA_DIR") or ".terraform"))
        return cls(directory, data_dir, environ.get("TF_WORKSPACE", ""), reads_tofu)

    @property
    def cache_path(self) -> Path:
        """Where Terraform keeps the backend it was initialised for."""
        return self.data_dir / "terraform.tfstate"

    @cached_property
    def cache_text(self) -> str | None:
        """What the cache says, word for word; None where there is none. Raises ConfigError: It cannot be read."""
        return self._read(self.cache_path, _MAX_CACHE_BYTES)

    @cached_property
    def backend(self) -> BackendCache | None:
        """
        The backend from the cache; None where there is no cache, or it names none.

        Raises:
            ConfigError: The cache cannot be read, or is of a version we do not know.
        """
        return None if self.cache_text is None else _parse_cache(self.cache_text, self.cache_path)

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The backend types that the `.tf` files declare (`cloud` for a cloud block), the one that counts first."""
        return tuple(kind for kind, _ in self._blocks if kind)

    @cached_property
    def is_initialised(self) -> bool:
        """Whether `init` has nothing to do for the backend, and has been run where providers or modules need it."""
        if self.backend is not None or self.declared:
            return self.backend is not None and (not self.declared or self.backend.type in self.declared)
        return self.data_dir.is_dir() or not any(needs for _, needs in self._blocks)

    @property
    def is_terraform_directory(self) -> bool:
        """Whether there is anything here for Terraform: configuration, a backend cache, or a local state."""
        left = (self.cache_path, self.directory / "terraform.tfstate", self.directory / "terraform.tfstate.d")
        return any(True for _ in self._sources()) or any(path.exists() for path in left)

    def workspace(self) -> str:
        """
        Return the selected workspace: `TF_WORKSPACE`, what `workspace select` left behind, or `default`.

        Raises:
            ConfigError: The name is none that Terraform would accept, or cannot be read.
        """
        path = self.data_dir / "environment"
        name = self.selected or (self._read(path, 4096) or "").strip() or "default"
        if not is_workspace_name(name):
            source = "TF_WORKSPACE" if self.selected else _shown(path)
            raise ConfigError(f"{source} does not name a valid workspace: {printable(name, 40)!r}.\nCheck the name.")
        return name

    @property
    def names_workspace(self) -> bool:
        """Whether a workspace is named here at all; else it is `default`."""
        return bool(self.selected) or (self.data_dir / "environment").exists()

    @property
    def has_tofu_files(self) -> bool:
        """Whether there are files that OpenTofu alone reads."""
        try:
            return any(name.endswith(_TOFU_SUFFIXES) for name in os.listdir(self.directory))
        except OSError:
            return False

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Return the configuration's files with their text, those first whose words count."""
        for path in self._sources():
            try:
                yield path, self._source(path)
            except ConfigError:
                continue  # Terraform will say what is wrong with its own files.

    @cached_property
    def doubt(self) -> str:
        """Why another backend may be declared than the one that counts here; empty where that cannot be."""
        kinds = 0
        for path in self._sources():
            try:
                text = self._source(path)
            except ConfigError as error:
                return str(error).partition("\n")[0].rstrip(".")
            is_json = path.name.endswith(".json")
            if read_json(text) is None if is_json else not hcl.is_whole(text.removeprefix(BOM)):
                return f"{_shown(path)} is broken"
            if _OVERRIDE.search(path.name) is None:
                kinds += sum(bool(kind) for kind, _ in _scanned(path, text))
        return "there are several backend blocks" if kinds > 1 else ""

    def _source(self, path: Path) -> str:
        # What is no UTF-8 Terraform takes in a comment.
        return self._read(path, _MAX_SOURCE_BYTES, errors="replace") or ""

    def _sources(self) -> Iterator[Path]:
        try:
            found = {entry.name for entry in os.scandir(self.directory) if not entry.is_dir(follow_symlinks=False)}
        except OSError:
            return
        names = sorted(name for name in found if name.endswith(_SUFFIXES))
        tofu = [name for name in found if name.endswith(_TOFU_SUFFIXES)]
        if tofu and self.reads_tofu():
            hidden = {_TOFU.sub(r".tf\1", name) for name in tofu}
            names = sorted({*names, *tofu} - hidden)
        # Terraform merges override files last, and of them the last one last: what that says counts.
        overriding = [name for name in names if _OVERRIDE.search(name)]
        names = [*reversed(overriding), *(name for name in names if name not in overriding)]
        yield from (self.directory / name for name in names if not name.startswith("."))

    @cached_property
    def _blocks(self) -> tuple[_Block, ...]:
        found: list[_Block] = []
        for path, text in self.texts():
            found += _scanned(path, text)
        return tuple(found)

    def _read(self, path: Path, limit: int, errors: str = "strict") -> str | None:
        """Read a small text file; None where there is none. Never blocks on what is not a regular file."""
        try:
            if not path.is_file():
                if path.exists():
                    raise ConfigError(f"{_shown(path)} is not an ordinary file.", _REMOVE, about=NAMED)
                return None
            with path.open("rb") as file:
                data = file.read(limit + 1)
            text = data.decode(errors=errors)
        except (OSError, ValueError) as error:
            why = (error.strerror or "error") if isinstance(error, OSError) else "it is no text"
            advice = "Let this user read it." if isinstance(error, PermissionError) else _REMOVE
            raise ConfigError(f"{_shown(path)} cannot be read: {why}.", advice, about=NAMED) from error
        if len(data) > limit:
            raise ConfigError(f"{_shown(path)} is too large to be Terraform's.", _REMOVE, about=NAMED)
        return text


def is_workspace_name(name: str) -> bool:
    """Whether Terraform accepts this as the name of a workspace."""
    return _WORKSPACE.fullmatch(name) is not None


def _shown(path: Path) -> str:
    """A path for a message: bounded, one line, its end kept."""
    text = printable(str(path), 4096)
    return text if len(text) <= 70 else "…" + text[-69:]


def _parse_cache(text: str, path: Path) -> BackendCache | None:
    try:
        content = parse(text, dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{_shown(path)} is not readable as JSON.", _REMOVE, about=NAMED) from error
    version = content.get("version")
    if version != _CACHE_VERSION:
        raise ConfigError(
            f"{_shown(path)} has version {printable(str(version), 20)}; tfguard knows 3.",
            TfguardCommand("init -reconfigure"),
            about=NAMED,
        )
    backend = content.get("backend") or content.get("cloud")
    if not backend:
        if content.get("state_store"):
            return BackendCache("state_store", {}, path)
        return None
    kind, config = (backend.get("type"), backend.get("config")) if isinstance(backend, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(config or {}, dict):
        raise ConfigError(f"{_shown(path)} names no usable backend.", TfguardCommand("init -reconfigure"), about=NAMED)
    return BackendCache(kind, config or {}, path)


#: The backend type that a block declares, if it does; whether `init` has to install something for it.
_Block = tuple[str, bool]


def _scanned(path: Path, text: str) -> Iterator[_Block]:
    return _scan_json(text) if path.name.endswith(".json") else _scan(text)


def _scan(text: str) -> Iterator[_Block]:
    """Return the blocks that matter to `init`."""
    outer: list[str] = []
    depth, header = 0, list[str]()
    for kind, word in hcl.tokens(text.removeprefix(BOM)):
        if word == "\n":
            header = []
        elif word == "{":
            yield from _judge(depth, outer, header)
            outer, depth, header = header if depth == 0 else outer, depth + 1, []
        elif word == "}":
            depth, header = max(0, depth - 1), []
        elif kind != "heredoc":
            header.append(word.strip('"'))


def _judge(depth: int, outer: list[str], header: list[str]) -> Iterator[_Block]:
    """`depth` blocks are around this one, `outer` the outermost: no other matters, however many there are."""
    is_setting = depth == 1 and outer[:1] == ["terraform"]
    if depth == 0 and header and _needs_init(header):
        yield "", True
    elif is_setting and header[:1] == ["backend"] and len(header) > 1:
        yield header[1], True
    elif is_setting and header in (["cloud"], ["required_providers"]):
        yield ("cloud" if header == ["cloud"] else ""), True


def _needs_init(labels: list[str]) -> bool:
    if labels[0] in ("resource", "data", "ephemeral"):
        return len(labels) > 1 and not labels[1].startswith("terraform_")
    return labels[0] in ("module", "provider")


def _scan_json(text: str) -> Iterator[_Block]:
    for content in read_json(text) or ():
        for settings in blocks_of(content.get("terraform")):
            for backend in blocks_of(settings.get("backend")):
                yield from ((kind, True) for kind in backend)
            if "cloud" in settings:
                yield "cloud", True
        if content.keys() & {"module", "provider", "resource", "data"}:
            yield "", True
