"""
The backend that `init` would set up, whether it has been run or not.

Where `init` has been run by hand with values of its own (`-backend-config=…`), only its cache still has them; what the
configuration says now comes before, since that is what the next `init` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from tfguard.errors import ConfigError
from tfguard.run.context import Context
from tfguard.terraform import command_line
from tfguard.terraform.backend_block import Declared, find_block, read_assignment, read_backend_file
from tfguard.text import printable

_FLAG = "backend-config"


def intended_backend(context: Context, given: Sequence[str] = (), *, otherwise: Callable[[str], str]) -> Declared:
    """
    Return the backend's type and values: the block's, over them the pipeline's, over them `given`.

    `given` are values of `-backend-config`: `KEY=VALUE`, or a file; its paths begin where we were called. `otherwise`
    says, of the type of backend that there is where nothing can be read of it, what to do.

    Raises:
        ConfigError: No configuration here, a file that cannot be read, or a value that only Terraform could work out.
    """
    workdir = context.workdir()
    block = find_block(workdir.texts())
    if block is None and workdir.backend is None:
        raise ConfigError(_nothing_declared(context, otherwise))
    found = _before(context, block)
    parts = [*_of_pipeline(context), *(_part(text, str(context.current)) for text in given)]
    return reduce(_over, parts, found)


def wanted_values(context: Context) -> Declared:
    """
    Return what the pipeline adds to the block, its type left out.

    Raises:
        ConfigError: A file that cannot be read.
    """
    return reduce(_over, _of_pipeline(context), Declared("", {}))


def _over(found: Declared, part: Declared) -> Declared:
    """Let a later part count more than what was there before it, read or not."""
    plain = {name: value for name, value in found.config.items() if name not in part.unread}
    unread = frozenset(name for name in found.unread if name.partition(".")[0] not in part.config)
    return Declared(found.type, {**plain, **part.config}, unread | part.unread)


def _before(context: Context, block: Declared | None) -> Declared:
    """What holds before anything is added to it: the block, and what a former init by hand has added."""
    cache = context.workdir().backend
    is_by_hand = next(_of_pipeline(context), None) is None
    if block is None:
        assert cache is not None
        return Declared(cache.type, cache.config)
    if cache is None or cache.type != block.type or not is_by_hand:
        return block
    return Declared(block.type, {**cache.config, **block.config}, block.unread - _known(cache.config))


def _known(config: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, value in config.items() if value is not None)


def _of_pipeline(context: Context) -> Iterator[Declared]:
    """In the order in which `init` is given them: what the variables add stands before all arguments of ours."""
    settings = context.settings
    for text in command_line.values_of(_FLAG, _of_variables(context)):
        yield _part(text, settings.directory)
    for path in settings.backend_config_files:
        yield read_backend_file(path)
    if settings.backend_config:
        yield Declared("", settings.backend_config)
    for text in command_line.values_of(_FLAG, settings.args.get("init", ())):
        yield _part(text, settings.directory)


def _of_variables(context: Context) -> tuple[str, ...]:
    """Return what TF_CLI_ARGS_init and TF_CLI_ARGS give to `init`. Raises ConfigError where we cannot read it."""
    given = command_line.given_by_environment(("init",), context.environ)
    if given is not None:
        return given
    for name in command_line.variables(("init",)):
        if _FLAG in context.environ.get(name, ""):
            raise ConfigError(
                f"{name} gives a -backend-config in shell syntax that only Terraform should interpret.",
                "Write it without, or set backend_config in tfguard.yml.",
                about=context.label(),
            )
    return ()


def _part(text: str, directory: str) -> Declared:
    if "=" in text:
        return read_assignment(text)
    return read_backend_file(os.path.join(directory, text))


def _nothing_declared(context: Context, otherwise: Callable[[str], str]) -> str:
    workdir = context.workdir()
    if workdir.is_terraform_directory:
        return otherwise(workdir.declared[0] if workdir.declared else "local")
    return (
        f"{printable(str(workdir.directory), 60)} holds no Terraform configuration.\n"
        "Run tfguard where the .tf files are, or name their directory: tfguard -chdir=DIR …"
    )


def require_plain(found: Declared) -> None:
    """
    Make sure that every value is known: what is left out might say where, or as whom.

    Raises:
        ConfigError: One of them is an expression, which only Terraform can work out.
    """
    if found.unread:
        name = min(found.unread)
        raise ConfigError(
            f"The backend's `{printable(name, 60)}` is an expression, which only init works out.",
            f"Say it as you would to init: --backend-config {printable(name.partition('.')[0], 60)}=…",
        )
