"""
Asking git about a checkout, so that no repository can make it run a program.

A checkout's own configuration can name programs for git to start, and a branch can bring a whole repository along.
Nothing is fetched either: what a partial clone lacks comes by a program, and that is for the configuration to name.

Not promised: what a configuration in the user's home, or the one that GIT_CONFIG_GLOBAL names, makes of git is theirs.
"""

from __future__ import annotations

import os

from tfguard import programs

_CAREFUL = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.bareRepository=explicit")
_FETCHES_NOTHING = {"GIT_ALLOW_PROTOCOL": ""}
#: Where the user says the checkout and their own configuration are; no other of git's variables, some hold secrets.
_WHERE = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
_SHORT_SECONDS = 10.0
#: What differs in a large repository, by name. Nobody reads more into memory.
_MAX_BYTES = 1 << 28


def ask(directory: str, *words: str, is_anybodys: bool = False, timeout_seconds: float = 600.0) -> programs.Said:
    """
    Run a git command that only looks. A `diff` also needs `--no-ext-diff` and `--no-textconv`.

    `is_anybodys`: the checkout may belong to another user, as in a container that mounts it.

    Raises OSError, as `programs.ask` does: it is not there, or does not come to an end.
    """
    where = {name: os.environ[name] for name in _WHERE if name in os.environ}
    owner = ("-c", "safe.directory=*") if is_anybodys else ()
    return programs.ask(
        [programs.find("git", os.environ), *_CAREFUL, *owner, "-C", directory, *words],
        {**programs.environment(os.environ), **where, **_FETCHES_NOTHING},
        timeout_seconds,
        max_bytes=_MAX_BYTES,
    )


def is_tracked(directory: str, name: str) -> bool:
    """Whether git keeps the file `name` of this directory; where that cannot be told, it does not."""
    words = ("--literal-pathspecs", "ls-files", "--error-unmatch", "--", name)  # A file may be called `:(top)x`.
    try:
        return ask(directory, *words, is_anybodys=True, timeout_seconds=_SHORT_SECONDS).status == 0
    except OSError:
        return False
