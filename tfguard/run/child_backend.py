"""
What a Terraform under a lock of ours has to be told of its backend: on a server of states, the ID of the lock, which
with `-lock=false` has to be in the address; on Consul, in a workspace, that there is no lock to take.

Where it reads that, and how it is given something else:

    what says it                    how it is given another one
    ------------------------------  ------------------------------------------------------------------------------
    the environment                 by the variable
    the configuration               by a data directory of this run's own, with a cache of its own (`data_overlay`)
    a saved plan that is applied    by a copy of the plan (`plan_copy`)

What a plan saves carries it on: the ID of a lock that is gone, or that no lock is to be taken by whoever applies it. So
a plan is told nothing where it can do without, and elsewhere saves none but for this run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tfguard.backends.spec import ChildSettings
from tfguard.backends.target import Target
from tfguard.errors import ConfigError
from tfguard.lock import protocol
from tfguard.run.look import Look
from tfguard.terraform import data_overlay
from tfguard.terraform.child_pin import pin
from tfguard.terraform.command_line import Invocation, with_plan_file
from tfguard.terraform.plan_copy import copy_with
from tfguard.terraform.plan_file import UnreadablePlan, read_planned_backend
from tfguard.text import printable
from tfguard.wire import pack


def settings_for(target: Target, lock_id: str) -> ChildSettings | None:
    """Return what a Terraform has to be given under the lock of this ID; None where its configuration will do."""
    return next(filter(None, (spec.child_settings(lock_id) for spec in target.stores)), None)


def given(
    invocation: Invocation, environ: Mapping[str, str], look: Look, lock_id: str, folder: str
) -> tuple[Invocation, dict[str, str]]:
    """
    Return the call and the environment of a Terraform that works on the state with this ID.

    `folder` is the run's own. Raises ConfigError: There is no place for what has to be written.
    """
    settings = settings_for(look.target, lock_id)
    is_plan = invocation.words == ("plan",)
    if settings is None or (is_plan and not settings.is_for_plans):
        return invocation, dict(environ)
    check_plan(invocation, look.target, folder)
    if invocation.plan_file is not None:
        return _with_plan(invocation, environ, look, settings, folder)
    if not _is_configured(look.backend[1] if look.backend else {}, settings):
        return invocation, _with_variable(environ, settings)
    assert look.workdir is not None
    try:
        place = data_overlay.make(look.workdir, folder, {settings.attribute: settings.value})
        return invocation, pin(environ, "TF_DATA_DIR", data_overlay.link(look.workdir, place, lock_id))
    except OSError as error:
        raise ConfigError(
            f"there is no place for a data directory of this run: {error.strerror}.",
            "Make room in TMPDIR, and let us write in .terraform.",
        ) from error


def check_plan(invocation: Invocation, target: Target, folder: str = "") -> None:
    """
    Refuse to save a plan that would carry on what a Terraform is told only under our lock, but in the run's `folder`.

    Raises ConfigError.
    """
    place = invocation.flag("out") if invocation.words == ("plan",) else None
    if place is None or (folder and Path(folder) in Path(place).parents):
        return
    settings = settings_for(target, "")
    if settings is not None and settings.is_for_plans:
        raise ConfigError(
            f"a plan saved under our lock in workspace {printable(target.workspace, 30)} would say"
            f" {settings.attribute} = {pack(settings.value).decode()} to whoever applies it.",
            "Save it with terraform plan -out=FILE, which takes the lock itself. Then: tfguard apply FILE",
            about=target.label,
        )


def prepare_push(look: Look, lock_id: str, place: str) -> None:
    """Let a push of what Terraform could not save, whose data directory is at `place`, work on the state as well."""
    settings = settings_for(look.target, lock_id)
    if settings is not None and place and look.workdir is not None:
        with suppress(OSError):  # Then the push is refused, and the state kept.
            data_overlay.write_cache(look.workdir, place, {settings.attribute: settings.value})


@contextmanager
def cleared(look: Look, held: protocol.Held) -> Iterator[None]:
    """Leave nothing in the real data directory of what `given` has put there, nor of a dead run's."""
    if look.workdir is None or settings_for(look.target, held.lock_id) is None:
        yield
        return
    if held.dead is not None:
        data_overlay.unlink(look.workdir, held.dead.id)
    try:
        yield
    finally:
        if not held.is_nested:  # The link is that of the run around us, too.
            data_overlay.unlink(look.workdir, held.lock_id)


def _with_plan(
    invocation: Invocation, environ: Mapping[str, str], look: Look, settings: ChildSettings, folder: str
) -> tuple[Invocation, dict[str, str]]:
    assert look.workdir is not None and invocation.plan_file is not None
    plan = look.workdir.directory / invocation.plan_file
    planned = read_planned_backend(plan)
    if isinstance(planned, UnreadablePlan) or not _is_configured(planned.config, settings):
        return invocation, _with_variable(environ, settings)
    copy = Path(tempfile.mkdtemp(prefix="plan-", dir=folder), plan.name)
    copy_with(plan, copy, {settings.attribute: settings.value})
    return with_plan_file(invocation, str(copy)), dict(environ)


def _with_variable(environ: Mapping[str, str], settings: ChildSettings) -> dict[str, str]:
    return pin(environ, settings.variable, str(settings.value)) if settings.variable else dict(environ)


def _is_configured(config: Mapping[str, object], settings: ChildSettings) -> bool:
    return not settings.variable or config.get(settings.attribute) is not None
