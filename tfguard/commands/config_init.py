"""
`tfguard config init`: a first tfguard.yml, from the Terraform directories below.

Little is guessed: a pipeline for each directory that declares a backend, or for each of its files of backend values or
workspaces. What else was found stands there as a comment. None of it needs Terraform or credentials.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tfguard import MANUAL, SCHEMA
from tfguard.config.document import shown_path
from tfguard.config.file import FILE_NAME
from tfguard.config.rules import pipeline_name_finding
from tfguard.errors import NAMED, ConfigError, TfguardCommand
from tfguard.files import absolute
from tfguard.outlet import write_answer
from tfguard.run.call import Call
from tfguard.terraform.stacks import Stack, stacks
from tfguard.text import printable
from tfguard.wire import publish

#: Nobody writes more by hand; more is a folder that was not meant.
MAX_STACKS = 300
#: So many files are named in a comment.
_MAX_NAMED = 10
#: What YAML takes for a text, and not for a number, a date, or a word of its own.
_PLAIN = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)(?:\.|(?:\./)?[A-Za-z_][A-Za-z0-9_./-]*)", re.IGNORECASE
)
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")

_HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
#
# Written by `tfguard config init`: see whether it has guessed right. A pipeline is one state, with what leads to it:
# a directory, a workspace, values for its backend.
#
#   tfguard -p NAME plan       any Terraform command, for one of them
#   tfguard run NAME           init, plan, and apply of that very plan, under one lock
#   tfguard config validate    after each change
#
# All keys: {MANUAL}/reference/configuration/
version: 1

# What holds for every pipeline, where it does not say otherwise.
# defaults:
#   lock: {{ timeout: 20m }} # how long to wait for a lock; 10m if nobody says so
#   run_timeout: 45m       # how long a run may take, without waiting
#   approve: auto          # `tfguard run` does not ask before it applies

"""
_NONE_FOUND = """\
# No directory here or below declares a backend, so there is nothing to begin with but an example:
#
# pipelines:
#   prod/network:
#     dir: stacks/network
#     workspace: prod
#     backend_config: [env/prod.tfbackend] # files, or KEY: VALUE
#     var_files: [env/prod.tfvars]
"""


def init(call: Call) -> int:
    """
    Write a tfguard.yml into this directory (`-chdir`), or where `--config` says; never over a file.

    Raises:
        ConfigError: There is one already.
        OSError: It cannot be written.
    """
    directory = absolute(Path.cwd() / (call.options.chdir or ""))
    path = absolute(directory / os.path.expanduser(call.options.config or FILE_NAME))
    for other in (path, *([path.with_suffix(".yaml")] if path.name == FILE_NAME else [])):
        if os.path.lexists(other):
            raise _there_already(other)
    found = list(islice(stacks(path.parent), MAX_STACKS + 1))
    text = first_file(found[:MAX_STACKS], is_whole=len(found) <= MAX_STACKS)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise _there_already(path) from error
    counted = f"{len(found)} director{'y' if len(found) == 1 else 'ies'} with a backend"
    write_answer(
        f"Wrote {shown_path(path)}: {counted if found else 'an example, for no directory below has a backend'}."
    )
    return 0


def _there_already(path: Path) -> ConfigError:
    advice = TfguardCommand("config validate", lead="It is left as it is. Check it")
    return ConfigError(f"{shown_path(path)} is there already.", advice, about=NAMED)


def first_file(found: list[Stack], *, is_whole: bool = True) -> str:
    """Return the file's text: one that is right, however the directories are called."""
    if not found:
        return _HEAD + _NONE_FOUND
    names: set[str] = set()
    pipelines = [line for stack in found for line in _pipelines(stack, names)]
    left = [] if is_whole else [f"  # There are more directories with a backend than these {MAX_STACKS}."]
    return _HEAD + "\n".join(["pipelines:", *pipelines, *left]) + "\n"


def _pipelines(stack: Stack, names: set[str]) -> Iterator[str]:
    """Write the pipelines of a directory: one for each state that its files and folders speak of."""
    if stack.backend_files:
        for environment, file in stack.backend_files.items():
            chosen = stack.var_files.get(environment)
            files = {"backend_config": [file], "var_files": [chosen] if chosen else []}
            yield from _pipeline(stack, environment, names, files)
    elif stack.workspaces:
        for workspace in ("default", *stack.workspaces):
            chosen = stack.var_files.get(workspace)
            yield from _pipeline(stack, workspace, names, {"var_files": [chosen] if chosen else []}, workspace)
    else:
        yield from _pipeline(stack, "", names, {})


def _pipeline(
    stack: Stack, environment: str, names: set[str], files: dict[str, list[Path]], workspace: str = ""
) -> Iterator[str]:
    yield f"  {_text(_name(stack.directory, environment, names))}: # backend {printable(stack.backend, 30)}"
    yield f"    dir: {_path(stack.directory)}"
    if workspace:
        yield f"    workspace: {_text(workspace)}"
    for key, paths in files.items():
        if paths:
            yield f"    {key}: [{', '.join(map(_path, paths))}]"
    if not workspace and stack.backend not in ("http", "cloud"):
        yield "    # workspace: NAME"
    if not files.get("var_files") and stack.var_files:
        yield "    # These were found. If each is for a state of its own, write a pipeline for each:"
        yield f"    # var_files: [{', '.join(map(_path, islice(stack.var_files.values(), _MAX_NAMED)))}]"


def _name(directory: Path, environment: str, names: set[str]) -> str:
    """Choose a pipeline's name that is allowed, and that no other has, in whatever case."""
    parts = [*directory.parts, *([environment] if environment else [])]
    wished = "/".join(_NO_NAME.sub("-", part).strip("-.") or "x" for part in parts) or "main"
    if pipeline_name_finding(wished):
        wished = f"p-{wished[-100:].strip('/-.')}"
    name, number = wished, 1
    while name.casefold() in names:
        number += 1
        name = f"{wished}-{number}"
    names.add(name.casefold())
    return name


def _path(path: Path) -> str:
    """Write a path so that it is one, and no variable, option or home."""
    text = path.as_posix()
    return _text(f"./{text}" if text.startswith(("~", "-")) else text)


def _text(text: str) -> str:
    """Write a text in YAML: as it is where that is one, else in JSON's quotes, which YAML reads."""
    text = text.replace("$", "$$")  # A variable begins with one.
    return text if _PLAIN.fullmatch(text) else publish(text).decode()
