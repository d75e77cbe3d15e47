"""
The one place that puts a pipeline's environment into this process.

botocore, and its likes, look for credentials in the process's own environment. To find those that the pipeline's
Terraform would find, the process takes on what that Terraform gets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def extend_environment(environ: Mapping[str, str]) -> None:
    """Let this process find credentials by these variables too, from now on."""
    os.environ.update(named(environ))


def replace_environment(environ: Mapping[str, str]) -> None:
    """Let this process find credentials by these variables and no others, from now on."""
    for name in named(os.environ):
        del os.environ[name]
    os.environ.update(named(environ))


def named(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that have a name: one without (`=C:=x`) no program can ask for, and Python cannot set."""
    return {name: value for name, value in environ.items() if name}


@contextmanager
def extended_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Let this process find credentials by these variables too, for a while."""
    before = dict(os.environ)
    extend_environment(environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(named(before))
