"""
Which pipelines a change concerns: git says which files have changed, and a pipeline which files it reads.

Rather one job too many: where it cannot be told what a pipeline reads, the change concerns it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tfguard import git
from tfguard.config.document import clip
from tfguard.config.file import Config
from tfguard.config.globs import Glob
from tfguard.config.variables import UnsetVariable, expand
from tfguard.errors import ConfigError, UsageError

#: Nothing of the branch's own configuration decides what is looked at: neither its diff.* nor its .gitmodules.
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-relative", "--ignore-submodules=none"),
    *("--name-only", "--no-renames", "-z"),
)
#: What a push event names as the commit before the first one.
_NO_COMMIT = re.compile(r"0{40}|0{64}")
_FETCH = "Fetch the history first: `fetch-depth: 0` on GitHub, `GIT_DEPTH: 0` on GitLab."
_FILE_FLAG = re.compile(r"--?(?:var-file|backend-config)=(.+)", re.DOTALL)
#: A link may lead to a link, but not for ever.
_MAX_LINKS = 40


def names_no_commit(commit: str) -> bool:
    """Whether this is what a first push has in place of the commit before it: then every pipeline is concerned."""
    return _NO_COMMIT.fullmatch(commit) is not None


def changed_since(root: Path, commit: str) -> list[str]:
    """
    Return the files changed between `commit`'s common ancestor with HEAD and HEAD, absolute. A submodule is one file.

    Raises:
        UsageError: That is no name of a commit.

        ConfigError: git cannot tell, and why: it is missing, this is no checkout, the commit is not in it, or it has no
            history in common with HEAD.
    """
    if commit.startswith("-"):
        raise UsageError(
            f"--changed-since: {clip(commit, 40)} is not a commit.\nFor example: --changed-since origin/main"
        )
    top = _ask(root, "rev-parse", "--show-toplevel")
    if top is None:
        raise ConfigError(
            f"git cannot compare with {clip(commit, 40)}: tfguard.yml is in no git checkout.",
            "Run it in a checkout, or leave --changed-since out.",
        )
    if _ask(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None:
        raise _lacking(root, f"git cannot compare with {clip(commit, 40)}: the checkout does not have it")
    if _ask(root, "merge-base", commit, "HEAD") is None:
        raise _lacking(root, f"git cannot compare with {clip(commit, 40)}: it has no history in common with HEAD")
    # A file that was moved concerns the place it left, too.
    names = _ask(root, *_DIFF, f"{commit}...HEAD", "--")
    if names is None:
        raise _lacking(root, f"git cannot compare with {clip(commit, 40)}: the checkout is partial")
    return [os.path.join(top.rstrip("\n"), name) for name in names.split("\0") if name]


def is_concerned(
    config: Config,
    name: str,
    files: Iterable[str],
    environ: Mapping[str, str],
    *,
    folders_read: Callable[[Path], Iterable[Path]],
) -> bool:
    """
    Whether one of the files is tfguard.yml, one that the pipeline reads, or matches one of its `paths`.

    It reads what is below its `dir` and below the folders that `folders_read` says of it (local modules), its
    var_files and backend files, and whatever a link on the way to these leads to.
    """
    try:
        read = {str(place) for path in _read(config, name, environ, folders_read) for place in _way(path)}
        globs = [Glob(glob) for glob in _paths(config, name, environ, "paths")]
    except UnsetVariable:
        return True
    return any(_meets(file, read) or any(glob.matches(file) for glob in globs) for file in files)


def _read(
    config: Config, name: str, environ: Mapping[str, str], folders_read: Callable[[Path], Iterable[Path]]
) -> Iterator[Path]:
    directory = Path(next(_paths(config, name, environ, "dir"), os.path.realpath(config.root)))
    yield config.path
    yield directory
    yield from folders_read(directory)
    yield from map(Path, _paths(config, name, environ, "var_files"))
    yield from map(Path, _paths(config, name, environ, "backend_config"))
    for words in (leaf.value for path, leaf in config.merged(name).items() if path[0] == "args"):
        files = (match[1] for word in words or () if (match := _FILE_FLAG.fullmatch(str(word))) and "=" not in match[1])
        yield from (directory / expand(file, environ) for file in files)


def _paths(config: Config, name: str, environ: Mapping[str, str], key: str) -> Iterator[str]:
    """The paths, relative to tfguard.yml, that a key holds. Raises UnsetVariable: where they are cannot be told."""
    leaf = config.merged(name).get((key,))
    value = leaf.value if leaf is not None else ()
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
        yield os.path.join(os.path.realpath(config.root), expand(str(text), environ))


def _way(path: Path) -> Iterator[Path]:
    """Every link on the way to a file or folder, then the file or folder itself: the kernel reads them all."""
    for _ in range(_MAX_LINKS):
        link = next((each for each in (*reversed(path.parents), path) if each.is_symlink()), None)
        if link is None:
            break
        yield Path(os.path.realpath(link.parent), link.name)
        path = Path(os.path.realpath(link.parent), os.readlink(link), path.relative_to(link))
    yield Path(os.path.realpath(path))


def _meets(file: str, read: set[str]) -> bool:
    """Whether the file is one of these, is below one of them, or is a submodule that has one of them inside."""
    return any(file == place or file.startswith(place + os.sep) or place.startswith(file + os.sep) for place in read)


def _lacking(root: Path, what: str) -> ConfigError:
    """Say what a checkout lacks, and how it comes to have it."""
    if (_ask(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true":
        return ConfigError(f"{what}, because it is shallow.", _FETCH)
    return ConfigError(f"{what}.", "Name a commit that is here, or fetch it first: git fetch origin COMMIT")


def _ask(root: Path, *words: str) -> str | None:
    """Ask git; None where it says no. The checkout may be another user's, as in a container that mounts it."""
    try:
        done = git.ask(str(root), *words, is_anybodys=True)
    except OSError as error:
        raise ConfigError(
            f"--changed-since needs git: {error.strerror}.\nInstall git, or leave the flag out."
        ) from error
    return os.fsdecode(done.output) if done.status == 0 else None
