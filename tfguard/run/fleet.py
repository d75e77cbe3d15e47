"""
Looking at many locks at once: every pipeline of tfguard.yml, or every lock in a table or bucket.

Locks are found and their stores opened one after the other, each under its own pipeline's environment, since
credentials come from there; then all are read at once. Takes nothing, writes nothing, never runs init. What cannot
be read is an answer too, never an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tfguard.backends.aws.spec import AwsAccess
from tfguard.backends.opened_lock import OpenedLock, Seen, opened
from tfguard.backends.target import LocalSpec, StoreSpec, Target, Unlockable
from tfguard.config.file import Config
from tfguard.config.options import Options
from tfguard.errors import ConfigError, TfguardError
from tfguard.lock.queue_record import QueueState
from tfguard.report.reporter import Reporter
from tfguard.run.context import find_target, make_context
from tfguard.terraform import command_line

if TYPE_CHECKING:
    from tfguard.backends.aws.credentials import Credentials

#: So many locks are read at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class Look:
    """What one lock showed. `problem`: why nobody knows, in a line."""

    label: str
    places: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    queue: QueueState = field(default_factory=QueueState)
    problem: str = ""


class Keyring:
    """Credentials shared by all locks that are reached the same way; resolving them may take a while each time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Credentials] = {}

    def credentials(self, access: AwsAccess) -> Credentials:
        """Give the credentials for this access and the environment of now."""
        import msgspec

        from tfguard.backends.aws.credentials import Credentials

        way = (msgspec.json.encode(access).decode(), *sorted(f"{k}={v}" for k, v in os.environ.items() if "AWS" in k))
        if way not in self._known:
            self._known[way] = Credentials(access)
        return self._known[way]

    def close(self) -> None:
        for each in self._known.values():
            each.close()


def look_at_pipelines(config: Config, options: Options, environ: Mapping[str, str], report: Reporter) -> list[Look]:
    """Look at every pipeline's lock, in the file's order."""
    with ExitStack() as stack:
        keyring = stack.enter_context(_closing(Keyring()))
        found = [_open(name, config, options, environ, report, keyring, stack) for name in config.names]
        return _look_at(found)


def look_around(target: Target) -> list[Look]:
    """
    Look at every lock in the table of this target, and in its bucket, whosever they are.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured, where the locks cannot be listed.
    """
    from tfguard.backends.aws.listing import locks_beside

    with ExitStack() as stack:
        keyring = stack.enter_context(_closing(Keyring()))
        found: list[tuple[str, OpenedLock | str]] = []
        for spec in target.stores:
            if isinstance(spec, LocalSpec):
                raise ConfigError("a local state's lock stands alone: there is no table or bucket to look through.")
            for name, other in locks_beside(spec, keyring.credentials(spec.aws)):
                found.append((name, stack.enter_context(opened(_alone(name, other), keyring.credentials))))
        return _look_at(found)


def _alone(name: str, spec: StoreSpec) -> Target:
    return Target(label=name, path=name, backend="", workspace="", stores=(spec,))


def _open(
    name: str,
    config: Config,
    options: Options,
    environ: Mapping[str, str],
    report: Reporter,
    keyring: Keyring,
    stack: ExitStack,
) -> tuple[str, OpenedLock | str]:
    try:
        context = make_context(replace(options, pipeline=name, chdir=None), environ, report, config=config)
        target = find_target(context, command_line.parse(("apply",), {}))
        if isinstance(target, Unlockable):
            return name, target.reason.splitlines()[0]
        with _environment(context.environ):
            return name, stack.enter_context(opened(target, keyring.credentials))
    except TfguardError as error:
        return name, _reason(error)


def _look_at(found: list[tuple[str, OpenedLock | str]]) -> list[Look]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda pair: _look(*pair), found))


def _look(label: str, lock: OpenedLock | str) -> Look:
    if isinstance(lock, str):
        return Look(label, problem=lock)
    try:
        return Look(label, lock.places, lock.read(), lock.history())
    except TfguardError as error:
        return Look(label, lock.places, problem=_reason(error))


def _reason(error: TfguardError) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not initialised" if "not initialised" in text else text


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Let this process resolve credentials as the pipeline's Terraform would."""
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _closing(keyring: Keyring) -> Iterator[Keyring]:
    try:
        yield keyring
    finally:
        keyring.close()
