"""Checks of this machine and directory: no network."""

from __future__ import annotations

import os

from tfguard import __version__, arguments
from tfguard.backend import Unlockable
from tfguard.checks import Answer, Check, Patient, failure, ok, warning
from tfguard.context import cache_dir, find_target
from tfguard.runner import ERRORED
from tfguard.terraform import binary_version

_SHELLS = {"sh", "bash", "dash", "zsh", "ash", "busybox"}


def binary(patient: Patient) -> Answer:
    """Which Terraform runs, wrappers seen through."""
    found, context = patient.context.binary, patient.context
    version = binary_version(found, context.environ, cache_dir(context.environ))
    if not version:
        return failure(f"{found.path} does not tell its version", "Name another one: --terraform PATH")
    return ok(f"tfguard {__version__} runs {found.kind} {version} ({found.path})")


def directory(patient: Patient) -> Answer:
    """Whether the directory is initialised, and its lock is one that we can hold."""
    target = find_target(patient.context, arguments.parse(("apply",), {}))
    if isinstance(target, Unlockable):
        first, *rest = target.reason.splitlines()
        return failure(first, " ".join(rest))
    return ok(f"the lock is {target.path} (backend {target.backend}, workspace {target.workspace or 'default'})")


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
    if not os.path.exists(os.path.join(patient.context.settings.directory, ERRORED)):
        return None
    again = patient.context.options.again
    return warning(f"{ERRORED} lies in the directory: a state that was never saved", f"{again} state push {ERRORED}")


CHECKS: dict[str, Check] = {
    "binary": binary,
    "directory": directory,
    "shell": shell,
    "pid 1": first_process,
    "unsaved state": unsaved,
}
