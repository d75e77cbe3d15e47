"""Which lock a command of the operator's is about: this directory's, a pipeline's, or a named one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from tfguard.config.options import Options
from tfguard.errors import ConfigError
from tfguard.lock.store import Target
from tfguard.report.messages import phrases
from tfguard.report.reporter import Report
from tfguard.run.context import find_target, make_context, named_target
from tfguard.terraform import command_line
from tfguard.terraform.locate import Unlockable


def operated_target(
    options: Options, environ: Mapping[str, str], report: Report, *, name: str | None = None, store: str | None = None
) -> tuple[phrases.Subject, Target]:
    """
    Find the lock, and make this process resolve credentials as its Terraform would. Asks nobody, runs no init.

    Raises:
        ConfigError, UsageError: There is no such lock, or the directory is not initialised.
    """
    context = make_context(options, environ, report)
    os.environ.update(context.environ)
    if name and store:
        target = named_target(context, name, store)
        lock_options = shlex.join(["--name", name, "--store", store])
        return phrases.Subject(name, command=context.options.again, lock_options=lock_options), target
    found = find_target(context, command_line.parse(("apply",), {}))
    if isinstance(found, Unlockable):
        raise ConfigError(phrases.fit(*f"{context.label()}: {found.reason}".splitlines()))
    return context.subject(found), found
