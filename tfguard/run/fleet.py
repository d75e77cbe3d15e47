"""
Looking at many locks at once: every pipeline of tfguard.yml, or every lock beside one.

Locks are found and their stores opened one after the other, each under its own pipeline's environment, since
credentials come from there; then all are read at once. Takes nothing, writes nothing, never runs init. What cannot
be read is an answer too, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Union

from tfguard.backends import load
from tfguard.backends.environ import extended_environment
from tfguard.backends.keyring import Keyring
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.config.file import Config, find_config
from tfguard.config.file import load as load_config
from tfguard.errors import ConfigError, NotInitialised, TfguardError, UsageError
from tfguard.lock.opened_lock import OpenedLock, Seen
from tfguard.lock.queue_record import QueueState
from tfguard.report.messages.phrases import Subject
from tfguard.run import whereabouts
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.whereabouts import Whereabouts
from tfguard.text import printable

#: So many locks are read at once.
_AT_ONCE = 16

#: A lock, opened; or why it cannot be.
_Found = tuple[Subject, Union[tuple[Whereabouts, OpenedLock], TfguardError]]


@dataclass(frozen=True)
class Look:
    """
    What one lock showed. `source` and `doubt` are those of its `Whereabouts`. `problem`: why nobody knows, in a line.
    `mend`: the command that would change that.
    """

    subject: Subject
    source: str = ""
    doubt: str = ""
    places: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    queue: QueueState = field(default_factory=QueueState)
    problem: str = ""
    mend: str = ""

    @property
    def label(self) -> str:
        """The pipeline's name, or the lock's own."""
        return self.subject.label


class _NotOurs(TfguardError):
    """The backend has a line of its own: there is no lock to look at, and nothing to mend."""


@dataclass(frozen=True)
class Fleet:
    """The pipelines of a tfguard.yml that a call is about, in the file's order."""

    config: Config
    names: tuple[str, ...]

    def calls(self, call: Call) -> Iterator[Call]:
        """Return a call for each, as if it had been given alone."""
        for name in self.names:
            yield Call(replace(call.options, pipeline=name, chdir=None), call.environ, call.report)


def find_fleet(call: Call, patterns: Sequence[str] = ()) -> Fleet:
    """
    Find every pipeline of tfguard.yml, or those of which one of `patterns` is the name: `*` is any text, slashes too.

    Raises:
        ConfigError: There is no tfguard.yml, or it is wrong.

        UsageError: No pipeline there has such a name.
    """
    options, environ = call.options, call.environ
    path = find_config(Path.cwd() / (options.chdir or ""), options.config, environ)
    if path is None:
        raise ConfigError(
            "there is no tfguard.yml here or above, so there are no pipelines.",
            "Leave out --all for this directory.",
        )
    config = load_config(path, environ)
    names = tuple(name for name in config.names if not patterns or any(fnmatchcase(name, each) for each in patterns))
    if patterns and not names:
        raise UsageError(
            f"no pipeline's name is like {printable(', '.join(patterns), 60)}.", "See: tfguard config list"
        )
    return Fleet(config, names)


def look_at(where: Whereabouts, lock: OpenedLock) -> Look:
    """Look at one lock, which is open. Raises what a store does."""
    return Look(where.subject, where.source, where.doubt, lock.places, lock.read(), lock.history())


def look_safely(where: Whereabouts, lock: OpenedLock) -> Look:
    """Look at one lock, which is open; what cannot be read is an answer too."""
    return _look(where.subject, (where, lock))


def look_at_pipelines(fleet: Fleet, call: Call) -> list[Look]:
    """Look at every pipeline's lock, in the file's order."""
    with ExitStack() as stack:
        keyring = stack.enter_context(closing(Keyring()))
        return _look_at([_open(each, fleet.config, keyring, stack) for each in fleet.calls(call)])


def look_around(target: Target) -> list[Look]:
    """
    Look at every lock beside this target's, in each of its stores, whosever they are.

    Raises:
        ConfigError: Nothing lives beside such a lock.

        StoreUnavailable, StoreDenied, StoreMisconfigured: The locks cannot be listed.
    """
    with ExitStack() as stack:
        keyring = stack.enter_context(closing(Keyring()))
        found: list[_Found] = []
        for spec in target.stores:
            for name, other in load(spec.backend).locks_beside(spec, keyring.credentials(spec)):
                where = Whereabouts(Subject(name), _alone(name, other))
                found.append((where.subject, (where, _open_stores(where.target, keyring, stack))))
        return _joined(_look_at(found))


def _joined(looks: list[Look]) -> list[Look]:
    """Show a guard and what it guards, which have one ID, as one lock: by the name of this, with what that says."""
    guards = {seen.record.id: look for look in looks for seen in look.seen if not seen.is_guarded}
    guarded = {seen.record.id for look in looks for seen in look.seen if seen.is_guarded} & guards.keys()
    joined = []
    for look in looks:
        if not look.seen or look.seen[0].record.id not in guarded:
            joined.append(look)
        elif look.seen[0].is_guarded:
            joined.append(replace(guards[look.seen[0].record.id], subject=look.subject))
    return joined


def _alone(name: str, spec: StoreSpec) -> Target:
    return Target(label=name, path=name, backend="", workspace="", stores=(spec,))


def _open(call: Call, config: Config, keyring: Keyring, stack: ExitStack) -> _Found:
    subject = Subject(call.name, call.options.again)
    try:
        context = make_context(call, config=config, needs_binary=False)
        with extended_environment(context.environ):
            where = whereabouts.find(context)
            if isinstance(where, Unlockable):
                error = _NotOurs if where.is_told else TfguardError
                return subject, error(where.reason.splitlines()[0])
            subject = where.subject
            return subject, (where, _open_stores(where.target, keyring, stack))
    except TfguardError as error:
        return subject, error


def _open_stores(target: Target, keyring: Keyring, stack: ExitStack) -> OpenedLock:
    return stack.enter_context(closing(OpenedLock(target.open(keyring), target.deadlines)))


def _look_at(found: list[_Found]) -> list[Look]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda pair: _look(*pair), found))


def _look(subject: Subject, found: tuple[Whereabouts, OpenedLock] | TfguardError) -> Look:
    if isinstance(found, TfguardError):
        return _failed(subject, found)
    where, lock = found
    try:
        return look_at(where, lock)
    except TfguardError as error:
        return replace(_failed(subject, error), source=where.source, doubt=where.doubt, places=lock.places)


def _failed(subject: Subject, error: TfguardError) -> Look:
    if isinstance(error, _NotOurs):
        return Look(subject, problem=error.what)
    if isinstance(error, NotInitialised):
        return Look(subject, problem=error.what, mend=f"{subject.command} init")
    return Look(subject, problem=error.what or type(error).__name__, mend=f"{subject.command} doctor")
