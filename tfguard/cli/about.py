"""
What our own commands may be about, as click reads it: a pipeline, several of them, a named lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tfguard.config.options import Options
from tfguard.errors import UsageError
from tfguard.run.call import Call

if TYPE_CHECKING:
    from tfguard.run.fleet import Fleet

Command = TypeVar("Command", bound=Callable[..., Any])


def _pipelines(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from tfguard.cli.completion import pipeline_names

    return pipeline_names(context.find_object(Options) or Options(), incomplete)


takes_pipeline = click.argument("pipeline", required=False, shell_complete=_pipelines)
as_json = click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")


def takes_named_lock(command: Command) -> Command:
    """Let a command be about a named lock: both options or neither, as `Call.about` sees to."""
    store = click.option(
        "--store",
        help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX, file:///DIR, consul://HOST/PREFIX, gs://BUCKET/PREFIX,"
        " azblob://ACCOUNT/CONTAINER, k8s://NAMESPACE/PREFIX, postgres://HOST/DATABASE.",
    )
    name = click.option("--name", help="A named lock instead of this directory's; with --store.")
    return name(store(command))


def takes_fleet(command: Command) -> Command:
    """Let a command be about several pipelines, as `find_fleet` finds them."""
    every = click.option("--all", "is_all", is_flag=True, help="Every pipeline of tfguard.yml.")
    match = click.option(
        "--match", "patterns", multiple=True, metavar="GLOB", help="Those whose name is like it: 'prod/*'; repeatable."
    )
    return every(match(command))


def find_fleet(
    call: Call, name: str | None, *, is_all: bool, patterns: tuple[str, ...], others: str = ""
) -> Fleet | None:
    """
    Find the pipelines that --all or --match mean; None where neither was given.

    Raises:
        ConfigError, UsageError: There are none, or something else says what the call is about.
    """
    if not (is_all or patterns):
        return None
    if name or others or call.options.pipeline:
        raise UsageError(
            "--all, --match, --backend, --name and a pipeline exclude each other.",
            "Give one of them.",
        )
    from tfguard.run import fleet

    return fleet.find_fleet(call, patterns)
