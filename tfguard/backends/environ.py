"""
The one place that puts a pipeline's environment into this process.

botocore, and its likes, look for credentials in the process's own environment. To find those that the pipeline's
Terraform would find, the process takes on what that Terraform gets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_own: Mapping[str, str] | None = None


def own_environment() -> Mapping[str, str]:
    """Return what whoever started us has set, without what a pipeline's environment, of a checkout, says."""
    return os.environ if _own is None else _own


def extend_environment(environ: Mapping[str, str]) -> None:
    """Let this process find credentials by these variables too, from now on."""
    _remember_own()
    os.environ.update(named(environ))


def replace_environment(environ: Mapping[str, str]) -> None:
    """Let this process find credentials by these variables and no others, from now on."""
    _remember_own()
    for name in named(os.environ):
        del os.environ[name]
    os.environ.update(named(environ))


def is_in_checkout(path: str) -> bool:
    """Whether this file is part of a checkout, or of the working directory."""
    return any((folder / ".git").exists() or folder == Path.cwd() for folder in Path(os.path.realpath(path)).parents)


def named(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that have a name: one without (`=C:=x`) no program can ask for, and Python cannot set."""
    return {name: value for name, value in environ.items() if name}


def _remember_own() -> None:
    global _own
    _own = dict(os.environ) if _own is None else _own


@contextmanager
def extended_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Let this process find credentials by these variables too, for a while."""
    global _own
    before, own_before = dict(os.environ), _own
    extend_environment(environ)
    try:
        yield
    finally:
        _own = own_before
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(named(before))
