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
    os.environ.update(environ)


def replace_environment(environ: Mapping[str, str]) -> None:
    """Let this process find credentials by these variables and no others, from now on."""
    os.environ.clear()
    os.environ.update(environ)


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
        os.environ.update(before)
