"""Checks of this machine and directory: no network."""

from __future__ import annotations

import os
from collections.abc import Callable

from tfguard import __version__
from tfguard.backends.target import Unlockable
from tfguard.doctor.examination import Patient
from tfguard.findings import Answer, failure, ok, warning
from tfguard.lock.names import UNSAVED_STATE
from tfguard.run.context import cache_dir
from tfguard.run.whereabouts import find
from tfguard.terraform.binary import binary_version

_SHELLS = {"sh", "bash", "dash", "zsh", "ash", "busybox"}


def binary(patient: Patient) -> Answer:
    """Which Terraform runs, wrappers seen through."""
    found, context = patient.context.binary, patient.context
    version = binary_version(found, context.environ, cache_dir(context.environ))
    if not version:
        return failure(f"{found.path} does not tell its version", "Name another one: --terraform PATH")
    return ok(f"tfguard {__version__} runs {found.kind} {version} ({found.path})")


def wrapper(patient: Patient) -> Answer | None:
    """Whether a CI's set-up step has put a Node wrapper before Terraform, which passes no signal on."""
    if not patient.context.binary.path.name.endswith("-bin"):
        return None
    return ok("the Node wrapper of the set-up step is stepped over: it would pass no signal on")


def directory(patient: Patient) -> Answer:
    """
    Whether its lock is known, and one that we can hold; whether the directory is initialised, for this very pipeline.
    """
    pipeline, found = patient.context.settings.pipeline, find(patient.context)
    if isinstance(found, Unlockable):
        first, *rest = found.reason.splitlines()
        # Where the backend has a line of its own, there is nothing to mend.
        return ok(first) if found.is_told else failure(first, " ".join(rest))
    target = found.target
    if found.doubt:
        return failure(f"{found.source}, and it is not certain that this is its lock: {target.path}", found.doubt)
    if found.source and patient.context.workdir().backend is not None:
        return failure(f"{found.source.partition(': ')[0]}, so not for {pipeline}", f"{patient.again} init")
    if found.source:
        return warning(f"{found.source}: the lock is {target.path}", f"{patient.again} init")
    initialised = f"initialised for {pipeline}: " if pipeline else ""
    where = f"(backend {target.backend}, workspace {target.workspace or 'default'})"
    return ok(f"{initialised}the lock is {target.path} {where}")


def shell(patient: Patient) -> Answer | None:
    """Whether a shell stands between the CI runner and us: it does not pass signals on. At a terminal that is usual."""
    if os.isatty(0) or not patient.context.identity.run:
        return None
    import psutil

    try:
        name = psutil.Process(os.getppid()).name()
    except psutil.Error:
        return None
    if name in _SHELLS:
        return warning(f"{name} stands before tfguard and passes no signal on", "Write: exec tfguard …")
    return ok("no shell stands between the CI runner and tfguard")


def first_process(_: Patient) -> Answer | None:
    """Whether we are a container's PID 1, where nobody would reap what we leave behind."""
    if os.getpid() != 1:
        return None
    return warning(
        "tfguard is the first process of its container", "Start the container with an init: docker run --init"
    )


def unsaved(patient: Patient) -> Answer | None:
    """A state that Terraform could not save, still in the directory."""
    if not os.path.exists(os.path.join(patient.context.settings.directory, UNSAVED_STATE)):
        return None
    says = f"{UNSAVED_STATE} lies in the directory: a state that was never saved"
    return warning(says, f"{patient.again} state push {UNSAVED_STATE}")


#: The directory comes last: where it cannot be used, nothing more can be looked at.
CHECKS: dict[str, Callable[[Patient], Answer | None]] = {
    "binary": binary,
    "wrapper": wrapper,
    "shell": shell,
    "pid 1": first_process,
    "unsaved state": unsaved,
    "directory": directory,
}
