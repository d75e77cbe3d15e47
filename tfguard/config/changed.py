"""
Which pipelines a change concerns, by the files that git says have changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfguard import git
from tfguard.config.document import clip
from tfguard.config.file import Config
from tfguard.config.variables import UnsetVariable, expand
from tfguard.errors import ConfigError, UsageError

_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--name-only", "--no-renames", "-z")


def changed_since(root: Path, commit: str) -> list[str]:
    """
    Return the files changed between `commit`'s common ancestor with HEAD and HEAD, absolute.

    Raises:
        UsageError: That is no name of a commit.

        ConfigError: git cannot tell: it is missing, this is no checkout, or a shallow one without that commit.
    """
    if commit.startswith("-"):
        raise UsageError(
            f"--changed-since: {clip(commit, 40)} is not a commit.\nFor example: --changed-since origin/main"
        )
    top = _ask(root, commit, "rev-parse", "--show-toplevel").strip()
    # A file that was moved concerns the place it left, too.
    names = _ask(root, commit, *_DIFF, f"{commit}...HEAD", "--")
    return [os.path.join(top, name) for name in names.split("\0") if name]


def is_concerned(config: Config, name: str, files: Iterable[str], environ: Mapping[str, str]) -> bool:
    """Whether one of the files is tfguard.yml, below the pipeline's `dir`, or matches one of its `paths`."""
    leaves = config.merged(name)
    root = os.path.realpath(config.root)
    found = leaves.get(("dir",))
    try:
        directory = os.path.realpath(os.path.join(root, expand(found.value, environ) if found else "."))
    except UnsetVariable:
        return True  # Where it is cannot be told: rather one job too many.
    globs = leaves.get(("paths",))
    patterns = [_pattern(os.path.join(root, glob)) for glob in (globs.value if globs else ())]
    return any(
        file == str(config.path.resolve())
        or file.startswith(directory + os.sep)
        or any(pattern.fullmatch(file) for pattern in patterns)
        for file in files
    )


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob as git's: `*` and `?` stay within one folder, `**` does not; a folder means all that is in it."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", os.path.normpath(glob))
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


def _ask(root: Path, commit: str, *words: str) -> str:
    try:
        done = git.ask(str(root), *words)
    except OSError as error:
        raise ConfigError(
            f"--changed-since needs git: {error.strerror}.\nInstall git, or leave the flag out."
        ) from error
    if done.returncode:
        raise ConfigError(
            f"git cannot compare with {clip(commit, 40)}: the checkout does not have it, or is shallow or partial.\n"
            "Fetch the history first: `fetch-depth: 0` on GitHub, `GIT_DEPTH: 0` on GitLab."
        )
    return os.fsdecode(done.stdout)
