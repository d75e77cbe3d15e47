"""
What decides which state Terraform will write, as one look finds it.

The first look chooses the lock. The wait for it may take minutes, in which a workspace is selected, a directory is
initialised for another backend, a plan file or a link is replaced; and Terraform reads all of that again. So a second
look, by the same function, is taken under the lock. Only where both agree does Terraform start, and what can be pinned
is pinned by then (`Footing`): Terraform reads it from us, not from where somebody may still change it.

Not pinned is the cache of the backend, but where it has to be (`child_backend`). Only TF_DATA_DIR could name another,
and every program that Terraform starts would inherit that: a Terraform which a provisioner runs in another directory
would find our backend there, or none.
Nor can it be locked: Terraform's own lock on it would make every `init -reconfigure` in the directory fail meanwhile.
So it is looked at once more when Terraform has ended, to tell of a change that may have come too late for us to see.
A `state push` of what Terraform could not save starts nothing, and comes much later: that gets a copy (`copy_data`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfguard.backends.target import Target, Unlockable
from tfguard.errors import NAMED, ConfigError
from tfguard.lock import protocol
from tfguard.process.front import Front
from tfguard.report.messages import phrases
from tfguard.run.context import Context, find_target
from tfguard.terraform import data_overlay
from tfguard.terraform.child_pin import pin
from tfguard.terraform.command_line import Invocation, with_plan_file
from tfguard.terraform.workdir import WorkingDirectory


@dataclass(frozen=True)
class Look:
    """
    One look: the lock, and what it was found by.

    `context` has the real directory pinned, `place` is that directory's device and inode. `backend` is what the
    directory's cache says, None where the plan says it. `plan` is the digest of the plan file, `copy` our own copy of
    it; both are empty where there is none. `workdir` is the directory as it was read.
    """

    target: Target
    context: Context
    place: tuple[int, int] = (0, 0)
    backend: tuple[str, Mapping[str, Any]] | None = field(default=None, repr=False)  # It may hold secrets.
    plan: str = ""
    copy: str = ""
    workdir: WorkingDirectory | None = field(default=None, repr=False)

    def copy_data(self, folder: str) -> str:
        """
        Make a data directory in `folder` that has the backend as this look found it; return its path.

        Everything else in it leads to the real one. Only of a directory that was read. Raises OSError.
        """
        assert self.workdir is not None
        return data_overlay.make(self.workdir, folder)

    def difference(self, later: Look) -> str:
        """Say what another look found that is not as in this one; empty where both would write the same state."""
        before, after = self.target, later.target
        if later.place != self.place:
            return "the directory is another one now"
        if later.plan != self.plan:
            return "the plan file is another one now"
        if after.workspace != before.workspace:
            return f"the workspace is {phrases.word(after.workspace)} now, no longer {phrases.word(before.workspace)}"
        if later.backend != self.backend:
            return "the directory is initialised for another backend now"
        if (after.backend, after.path, after.stores) != (before.backend, before.path, before.stores):
            return "the state is another one now"
        return ""


class NoCopy(ConfigError):
    """There is no room for a copy of the plan, however often one looks."""


def take_look(context: Context, invocation: Invocation, folder: str = "") -> Look | Unlockable:
    """
    Look at everything that decides which state this call writes.

    With a `folder` a plan file is copied into it first, and the copy is what is looked at.

    Raises:
        ConfigError: There is no lock to be found, or what decides it changes while we look; NoCopy.
    """
    if context.settings.lock.mode == "named":
        # Its name and its store stand in the settings, which are read once; the state is under Terraform's own lock.
        found = find_target(context, invocation)
        return found if isinstance(found, Unlockable) else Look(found, context)
    place = _place(context.settings.directory)
    pinned = _pin_directory(context)
    workdir = context.workdir()
    plan, copy = _read_plan(workdir, invocation, folder)
    found = find_target(context, with_plan_file(invocation, copy) if copy else invocation, workdir)
    if isinstance(found, Unlockable):
        return found
    cache = None if plan else workdir.backend
    if place != _place(context.settings.directory) or place != _place(pinned.work_directory):
        raise ConfigError("the directory is being replaced by another one.", "Run it again.", about=context.label())
    return Look(found, pinned, place, (cache.type, cache.config) if cache else None, plan, copy, workdir)


def _place(directory: str) -> tuple[int, int]:
    try:
        found = os.stat(directory)
    except OSError:
        return (0, 0)  # What has to be read there says it better.
    return (found.st_dev, found.st_ino)


def _pin_directory(context: Context) -> Context:
    """Name the real directory where the way to it leads over links; else Terraform is told what the user told us."""
    real = os.path.realpath(context.settings.directory)
    given = context.settings.directory if context.settings.pipeline else context.options.chdir
    if given is None or os.path.abspath(context.current / given) == real:  # By text: no link on the way.
        return context
    return replace(context, pinned=real)


def _read_plan(workdir: WorkingDirectory, invocation: Invocation, folder: str) -> tuple[str, str]:
    """Return the digest of the plan file, and our copy of it. What is no ordinary file is left to `find_target`."""
    if invocation.plan_file is None:
        return "", ""
    path, copy = workdir.directory / invocation.plan_file, ""
    try:
        if not path.is_file():
            return "", ""
        if folder:
            path = _copy(path, folder)
            copy = str(path)
        with path.open("rb") as file:
            return _digest(file.read), copy
    except OSError as error:
        if folder:
            what = f"the plan file cannot be copied ({error.strerror}) into {folder}."
            raise NoCopy(what, "Make room there, or name another folder in TMPDIR.") from error
        raise ConfigError(f"the plan file cannot be read: {error.strerror}.") from error


def _copy(path: Path, folder: str) -> Path:
    """Copy a plan into a folder that only we can enter, under its own name."""
    copy = Path(folder, path.name)
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with path.open("rb") as source, open(descriptor, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return copy


def _digest(read: Callable[[int], bytes]) -> str:
    found = hashlib.sha256()
    while part := read(1 << 20):
        found.update(part)
    return found.hexdigest()


def private_folder(front: Front) -> str:
    """
    Return the run's own folder, for copies of the plan and of the backend's cache.

    Raises:
        ConfigError: There is no room for one.
    """
    try:
        return front.folder()
    except OSError as error:
        raise ConfigError(
            f"there is no place for a copy of the plan file: {error.strerror}.", "Name a folder for it in TMPDIR."
        ) from error


@dataclass(frozen=True)
class Footing:
    """
    What a program stands on that runs under the lock: the lock, the environment for children, the look under the lock,
    the run's own folder.
    """

    held: protocol.Held
    environ: Mapping[str, str] = field(repr=False)
    look: Look
    look_again: Callable[[], Look] = field(repr=False)
    folder: str = ""

    @property
    def context(self) -> Context:
        """The call, its directory pinned."""
        return self.look.context

    @property
    def has_other_backend(self) -> bool:
        """Whether what is not pinned has changed since the look under the lock. Raises ConfigError."""
        later = self.look_again()
        return (later.place, later.backend) != (self.look.place, self.look.backend)

    def check(self) -> None:
        """
        Make sure, before another program starts, that it would write the state that is locked.

        Raises:
            ConfigError: It would write another one.
        """
        changed = self.look.difference(self.look_again())
        if changed:
            label = self.look.context.label(self.look.target)
            raise ConfigError(
                f"{label}: {changed}: what is locked is not what would be written.",
                "Nothing more was started. Run it again.",
                about=NAMED,
            )

    def pin(self, invocation: Invocation) -> tuple[Invocation, dict[str, str]]:
        """Return the call and its environment for a Terraform that reads from us what could be changed."""
        look = self.look
        if look.copy and invocation.plan_file is not None:
            invocation = with_plan_file(invocation, look.copy)
        # Terraform refuses to delete a workspace where the variable is set. Which one it deletes, the argument says.
        workspace = look.target.workspace
        is_deleting = invocation.words == ("workspace", "delete")
        is_pinned = workspace and not is_deleting
        return invocation, pin(self.environ, "TF_WORKSPACE", workspace) if is_pinned else dict(self.environ)
