"""A workspace that Terraform would create under a lock of its own, against ours: it is created before we take ours."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tfguard.errors import ConfigError
from tfguard.process.front import Front
from tfguard.report.messages import phrases, starting
from tfguard.report.reporter import Reporter
from tfguard.run import implicit_lock
from tfguard.run.task import Task

_TRIES = 5


def create_workspace(front: Front, report: Reporter, task: Task, left_seconds: Callable[[], float]) -> None:
    """
    Let Terraform create the workspace under its own lock, by a command that touches nothing else.

    It is tried again where somebody else may be doing the same, and where somebody has that lock as long as is left.

    Raises:
        ConfigError: It could not be created, and why.
        LockBusy: Somebody has the lock still.
    """
    import tenacity  # Slow to import, and rarely needed.

    workspace = task.target.workspace
    text = starting.creating_workspace(task.subject.label, workspace)
    report.say("info", "workspace.created", text, label=task.subject.label, workspace=workspace)
    environ = {name: value for name, value in task.environ.items() if not name.startswith("TF_CLI_ARGS")}
    environ["TF_WORKSPACE"] = workspace
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda problem: problem is not None and not _is_refused(problem)),
        stop=lambda state: state.attempt_number >= _TRIES or left_seconds() < 0,
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else "",
    )
    create = functools.partial(retrying, _try_create, front, task, environ)
    problem = create()
    if _is_refused(problem):
        problem = implicit_lock.wait(front, report, task.subject.label, left_seconds(), create, _is_refused)
    if problem is not None:
        first = next((line.strip(" │╵╷") for line in problem.splitlines() if "Error" in line), "it gave no reason")
        raise ConfigError(
            phrases.fit(f"workspace {workspace} could not be created: {first}"),
            f"Create it by hand: terraform workspace new {workspace}",
            about=task.subject.label,
        )


def _is_refused(problem: str | None) -> bool:
    return problem is not None and implicit_lock.is_refused(problem)


def _try_create(front: Front, task: Task, environ: dict[str, str]) -> str | None:
    # Where Terraform works, with its -chdir: anywhere else it would create another state's.
    status, output = front.run_captured(
        [*task.terraform, "output", "-no-color", "-json"], directory=task.directory, environ=environ
    )
    return None if status == 0 else output
