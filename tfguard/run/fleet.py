"""
Looking at many locks at once: every pipeline of tfguard.yml, or every lock beside one.

Locks are found and their stores opened one after the other, each under its own pipeline's environment, since
credentials come from there; then all are read at once. Takes nothing, writes nothing, never runs init. What cannot
be read is an answer too, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Union

from tfguard.backends import load
from tfguard.backends.environ import extended_environment
from tfguard.backends.keyring import Keyring
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.config.file import Config
from tfguard.config.options import Options
from tfguard.errors import NotInitialised, TfguardError
from tfguard.lock.opened_lock import OpenedLock, Seen
from tfguard.lock.queue_record import QueueState
from tfguard.report.messages.phrases import Subject
from tfguard.report.reporter import Reporter
from tfguard.run import whereabouts
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.whereabouts import Whereabouts

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


def look_at(where: Whereabouts, lock: OpenedLock) -> Look:
    """Look at one lock, which is open. Raises what a store does."""
    return Look(where.subject, where.source, where.doubt, lock.places, lock.read(), lock.history())


def look_at_pipelines(config: Config, options: Options, environ: Mapping[str, str], report: Reporter) -> list[Look]:
    """Look at every pipeline's lock, in the file's order."""
    with ExitStack() as stack:
        keyring = stack.enter_context(closing(Keyring()))
        found = [_open(name, config, options, environ, report, keyring, stack) for name in config.names]
        return _look_at(found)


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


def _open(
    name: str,
    config: Config,
    options: Options,
    environ: Mapping[str, str],
    report: Reporter,
    keyring: Keyring,
    stack: ExitStack,
) -> _Found:
    own = replace(options, pipeline=name, chdir=None)
    subject = Subject(name, own.again)
    try:
        context = make_context(Call(own, environ, report), config=config, needs_binary=False)
        with extended_environment(context.environ):
            where = whereabouts.find(context)
            if isinstance(where, Unlockable):
                return subject, TfguardError(where.reason.splitlines()[0])
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
    if isinstance(error, NotInitialised):
        return Look(subject, problem=error.what, mend=f"{subject.command} init")
    return Look(subject, problem=error.what or type(error).__name__, mend=f"{subject.command} doctor")
