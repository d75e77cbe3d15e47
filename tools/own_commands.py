"""tfguard's own commands, in the order in which they are told of."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tfguard.cli import own_commands


def each() -> Iterator[tuple[click.Command, click.Context]]:
    """Give each command that can be run, those of a group in its place, and its context."""
    group = own_commands.group
    return _below(group, click.Context(group, info_name="tfguard"))


def _below(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name, command in sorted(group.commands.items()):
        inside = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _below(command, inside)
        else:
            yield command, inside
