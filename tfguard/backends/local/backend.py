"""Terraform's local backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.local.locate import local_lock
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target
from tfguard.backends.urls import StoreUrl
from tfguard.errors import ConfigError
from tfguard.files import absolute

requires = ()
urls = {"file": "file:///DIRECTORY or a relative path"}
fetch = "cp"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target:  # noqa: ARG001 - no variable counts
    """Find the state file of a workspace, as `Backend.locate` has it."""
    return local_lock(attributes, directory, workspace)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> LocalSpec:  # noqa: ARG001 - no variable counts
    """Take the file `name` in a directory: `file:///absolute/directory`, or a relative path."""
    url.options()
    if url.parts.netloc not in {"", "localhost"}:
        raise url.wrong(": a directory is file:///… with three slashes.")
    directory = unquote(url.parts.path) if url.parts.scheme else url.parts.path
    return LocalSpec(path=str(absolute(Path(directory, name))), is_state=False)


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - see below
    """Raise: nobody knows what other files are states."""
    raise ConfigError("--backend needs a table or a bucket; this state is a local file.")


def checks() -> Checks:
    """Return none: what a file may be asked, reading its lock asks too."""
    return Checks()
