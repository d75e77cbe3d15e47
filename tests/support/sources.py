"""What Python makes of a source of ours, once for all tests of a worker."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The tree of a file. Nobody changes it."""
    return ast.parse(path.read_bytes())
