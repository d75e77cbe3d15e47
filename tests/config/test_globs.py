"""Globs as git's, in time that no glob can stretch."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.config.globs import Glob

GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?", "[", ".", "a*", "/**/"]), max_size=8)
PATHS = st.lists(st.sampled_from(["a", "b", "/", "c", "[", ".", "ab/"]), max_size=12)


def expression(glob: str) -> re.Pattern[str]:
    """The same as a regular expression, which says what is meant, and may take for ever."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", re.sub(r"\*{3,}", "**", os.path.normpath(glob)))
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts) + "(?:/.*)?", re.DOTALL)


@given(glob=GLOBS.map("".join), path=PATHS.map("".join))
def test_a_glob_means_what_the_expression_of_it_means(glob: str, path: str) -> None:
    glob, path = f"/r/{glob}", f"/r/{path}"

    assert Glob(glob).matches(path) == (expression(glob).fullmatch(path) is not None)


@pytest.mark.parametrize(
    ("glob", "path", "is_meant"),
    [
        ("/r/modules/*/x.tf", "/r/modules/m/x.tf", True),
        ("/r/modules/*/x.tf", "/r/modules/m/deep/x.tf", False),
        ("/r/shared/**", "/r/shared/deep/y.tf", True),
        ("/r/shared", "/r/shared/deep/y.tf", True),
        ("/r/shared", "/r/shared2", False),
        ("/r/**/x", "/r/x", True),
        ("/r/**/x", "/r/a/b/x/c", True),
        ("/r/a?c", "/r/a/c", False),
        ("/r/a***c", "/r/a/b/c", True),
        ("/r/new\nline*", "/r/new\nlines", True),
    ],
)
def test_what_a_glob_means(glob: str, path: str, is_meant: bool) -> None:
    assert Glob(glob).matches(path) is is_meant
