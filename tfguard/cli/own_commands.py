"""
tfguard's own commands as click reads them: words become one call of a function in `commands`.

Every word that is not a command here is Terraform's. A command's code is imported when it is called.
"""

from __future__ import annotations

from typing import Literal

import click

from tfguard import MANUAL
from tfguard.cli import helping
from tfguard.cli.about import as_json, find_fleet, takes_fleet, takes_named_lock, takes_pipeline
from tfguard.config.options import help_of_key_flags
from tfguard.errors import UsageError
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call

_PAGE_EXAMPLE = "For example: tfguard status --all --html public/index.html"

_SETTINGS = {"help_option_names": ["--help", "-h", "-help"]}
_VERBATIM = {"ignore_unknown_options": True, "allow_interspersed_args": False, **_SETTINGS}

_HELP = f"""Run Terraform under its own state lock.

\b
  tfguard apply -auto-approve          any Terraform command and its arguments
  tfguard -p prod/network plan         for a pipeline of tfguard.yml
  tfguard -- ARGS…                     always Terraform itself, untouched

\b
Options, before the command:
  -p, --pipeline NAME      a pipeline of tfguard.yml
  --config FILE            use FILE instead of the nearest tfguard.yml
  -chdir=DIR, --chdir DIR  work in DIR
{help_of_key_flags()}
  --terraform PATH         the terraform or tofu to run
  --log-format FORMAT      console or json
  --report FILE            write a report of the run to FILE.md or FILE.json
  --report-limit BYTES     its largest size: 65000 fits a comment
  --expect FINGERPRINT     apply only what was reviewed: its plan's fingerprint, or its
                           report (FILE.json)
  --ignore-errored-state   run even if an earlier run's state is still to be saved
  --verbose, --quiet       say more, or less
  --version                show tfguard's and Terraform's

Every other word is Terraform's: tfguard -help shows its commands.
Each command below says more with --help. Manual: man tfguard, or {MANUAL}
"""


@click.group(context_settings={"help_option_names": ["--help"]}, help=_HELP)  # -h and -help are Terraform's
def group() -> None:
    pass


@group.command(short_help="Run a pipeline's steps under one lock.", context_settings=_SETTINGS)
@takes_pipeline
@click.pass_obj
def run(call: Call, pipeline: str | None) -> RunEnded | int:
    """Run the steps of PIPELINE (init, plan, apply of that very plan) under one lock.

    For example: tfguard run prod/network
    """
    from tfguard.commands.run import run_pipeline

    return run_pipeline(call.about(pipeline))


@group.command("exec", short_help="Run any program while the lock is held.", context_settings=_VERBATIM)
@takes_named_lock
@click.option("--detach-ok", "may_detach", is_flag=True, help="What the program leaves running may outlive the lock.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    call: Call, name: str | None, store: str | None, *, may_detach: bool, argv: tuple[str, ...]
) -> RunEnded | int:
    """Run a program while this directory's state lock is held: until it, and all that it has started, has ended.

    For example: tfguard exec -- ./deploy.sh
    """
    from tfguard.commands.exec import run_exec

    if not argv:
        raise UsageError("exec needs a program to run.", "For example: tfguard exec -- ./deploy.sh")
    return run_exec(call.about(None, name, store), argv, may_detach=may_detach)


@group.command(short_help="Check that tfguard protects this state.", context_settings=_SETTINGS)
@takes_pipeline
@click.option("--prove-lock", is_flag=True, help="Also hold the lock, and show that the real Terraform is refused.")
@click.option("--repair-digest", is_flag=True, help="Write the digest of the state as it is, under the lock.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask; with --repair-digest.")
@as_json
@takes_fleet
@click.pass_obj
def doctor(
    call: Call,
    pipeline: str | None,
    *,
    prove_lock: bool,
    repair_digest: bool,
    is_sure: bool,
    is_json: bool,
    is_all: bool,
    patterns: tuple[str, ...],
) -> RunEnded | int:
    """Check what could keep tfguard from protecting this state; exit 1 if something does.

    For example: tfguard doctor prod/network
    """
    from tfguard.commands import doctor as command
    from tfguard.commands import prove_lock as proving
    from tfguard.commands import repair_digest as repairing

    call.about(pipeline)
    if repair_digest and (prove_lock or is_json):
        raise UsageError("--repair-digest goes with neither --prove-lock nor --json.", "Give it alone.")
    fleet = find_fleet(call, None, is_all=is_all, patterns=patterns)
    if fleet and (prove_lock or repair_digest):
        raise UsageError("--prove-lock and --repair-digest are about one pipeline.", "Name it.")
    if fleet:
        return command.run_doctor_of_all(call, fleet, is_json=is_json)
    if prove_lock:
        return proving.prove_lock(call, is_json=is_json)
    if repair_digest:
        return repairing.repair_digest(call, is_sure=is_sure)
    return command.run_doctor(call, is_json=is_json)


@group.command(short_help="Create the bucket and table that a backend needs.", context_settings=_SETTINGS)
@takes_pipeline
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@click.option(
    "--print",
    "form",
    type=click.Choice(["terraform", "iam", "acl", "rbac", "grants"]),
    help="Print it as code instead of creating it.",
)
@click.option(
    "--backend-config", "-backend-config", "given", multiple=True, help="KEY=VALUE or FILE, as for init; repeatable."
)
@click.pass_obj
def bootstrap(
    call: Call,
    pipeline: str | None,
    *,
    is_sure: bool,
    form: Literal["terraform", "iam", "acl", "rbac", "grants"] | None,
    given: tuple[str, ...],
) -> int:
    """Create what the backend needs, after showing it. What exists is checked, and never changed.

    For example: tfguard bootstrap prod/network
    """
    from tfguard.commands import bootstrap as command

    call.about(pipeline)
    if form:
        return command.print_as(form, call, given=given)
    return command.run_bootstrap(call, given=given, is_sure=is_sure)


@group.command(short_help="Show who holds the lock, and whether that run is alive.", context_settings=_SETTINGS)
@takes_pipeline
@as_json
@takes_named_lock
@takes_fleet
@click.option("--watch", "is_watched", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--html", "page", metavar="FILE", help="Write a page of HTML about them to FILE; with --all or --match.")
@click.option("--backend", "is_backend", is_flag=True, help="Every lock in this backend's table or bucket.")
@click.pass_obj
def status(
    call: Call,
    pipeline: str | None,
    *,
    is_json: bool,
    is_all: bool,
    patterns: tuple[str, ...],
    is_watched: bool,
    page: str | None,
    is_backend: bool,
    name: str | None,
    store: str | None,
) -> int:
    """Show who holds the lock, its heartbeat, and how the last run ended.

    For example: tfguard status prod/network
    """
    from tfguard.commands.status import run_status, run_status_of_all, run_status_of_backend, write_status_page

    call.about(pipeline, name, store)
    fleet = find_fleet(call, name, is_all=is_all, patterns=patterns, others="--backend" if is_backend else "")
    if is_backend and name:
        raise UsageError("--all, --match, --backend, --name and a pipeline exclude each other.", "Give one of them.")
    if is_watched and is_json:
        raise UsageError("--watch goes not with --json.", "For programs, ask again: tfguard status --json")
    if page is not None and (not page or fleet is None or is_watched or is_json):
        raise UsageError("--html FILE goes with --all or --match, and neither --watch nor --json.", _PAGE_EXAMPLE)
    if fleet and page:
        return write_status_page(call, fleet, page)
    if fleet:
        return run_status_of_all(call, fleet, is_json=is_json, is_watched=is_watched)
    if is_backend:
        return run_status_of_backend(call, is_json=is_json, is_watched=is_watched)
    return run_status(call, is_json=is_json, is_watched=is_watched)


@group.command(short_help="Free a lock whose holder is dead.", context_settings=_SETTINGS)
@takes_pipeline
@click.option("--id", "lock_id", default="", help="The ID of the lock to free; no other lock is touched.")
@click.option("--force", is_flag=True, help="Free it even if its holder is alive; needs --reason.")
@click.option("--reason", default="", help="Why; kept in the lock's history.")
@click.option("--yes", is_flag=True, help="Do not ask; with --id.")
@takes_named_lock
@click.pass_obj
def unlock(
    call: Call,
    pipeline: str | None,
    *,
    lock_id: str,
    force: bool,
    reason: str,
    yes: bool,
    name: str | None,
    store: str | None,
) -> int:
    """Free a lock whose holder is dead: show who holds it, watch for a heartbeat, and ask.

    For example: tfguard unlock --id 0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100
    """
    from tfguard.commands.unlock import run_unlock
    from tfguard.run.unlocking import Decision

    call.about(pipeline, name, store)
    if force and not reason:
        raise UsageError("--force needs a reason.", 'For example: --force --reason "its runner was terminated"')
    decision = Decision(lock_id=lock_id, is_forced=force, reason=reason, is_sure=yes)
    return run_unlock(call, decision)


@group.command(short_help="Show the last runs of a state.", context_settings=_SETTINGS)
@takes_pipeline
@as_json
@takes_fleet
@takes_named_lock
@click.pass_obj
def history(
    call: Call,
    pipeline: str | None,
    *,
    is_json: bool,
    is_all: bool,
    patterns: tuple[str, ...],
    name: str | None,
    store: str | None,
) -> int:
    """Show the last runs: who, how long they waited and held the lock, how they ended.

    For example: tfguard history prod/network
    """
    from tfguard.commands.history import run_history, run_history_of_all

    fleet = find_fleet(call.about(pipeline, name, store), name, is_all=is_all, patterns=patterns)
    return run_history_of_all(call, fleet, is_json=is_json) if fleet else run_history(call, is_json=is_json)


@group.command(short_help="Hold the lock for maintenance; nothing is run.", context_settings=_SETTINGS)
@takes_pipeline
@click.option("--reason", required=True, help="Why; shown to everybody who waits.")
@click.option("--for", "duration", default="2h", help="For how long (2h).")
@takes_fleet
@takes_named_lock
@click.pass_obj
def hold(
    call: Call,
    pipeline: str | None,
    *,
    reason: str,
    duration: str,
    is_all: bool,
    patterns: tuple[str, ...],
    name: str | None,
    store: str | None,
) -> int:
    """Hold the lock by hand until its end time, or until `tfguard unlock`.

    For example: tfguard hold --reason "moving the subnets" --for 2h
    """
    from tfguard.commands.hold import run_hold, run_hold_of_all

    fleet = find_fleet(call.about(pipeline, name, store), name, is_all=is_all, patterns=patterns)
    if fleet:
        return run_hold_of_all(call, fleet, reason=reason, duration=duration)
    return run_hold(call, reason=reason, duration=duration)


@group.command(short_help="Wait for this job's runs, or clean up after them.", context_settings=_SETTINGS)
@click.option("--timeout", default="4m", help="How long to wait, at most (4m).")
@click.option("--record", default="", help="The record file to settle, or a folder of them.")
@click.pass_obj
def settle(call: Call, timeout: str, record: str) -> int:
    """Wait until no run of this job holds a lock; clean up after killed ones. Meant as a job's last step.

    For example: tfguard settle
    """
    from tfguard.commands.settle import run_settle
    from tfguard.durations import parse_duration

    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}.") from error
    return run_settle(call, timeout_seconds=seconds, place=record)


@group.command(short_help="Print the shell completion script.", context_settings=_SETTINGS)
@click.argument("shell", required=False, metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str | None) -> int:
    """Print the script with which SHELL completes commands, options and pipelines.

    For example: tfguard completion bash, as eval "$(tfguard completion bash)" in ~/.bashrc
    """
    from tfguard.cli.completion import print_script

    if not shell:
        raise UsageError("completion needs a shell: bash, zsh or fish.", "For example: tfguard completion bash")
    return print_script(shell)


@group.group(short_help="Write, show and check tfguard.yml.", context_settings=_SETTINGS)
def config() -> None:
    """Write, show and check tfguard.yml.

    For example: tfguard config show prod/network --origin
    """


@config.command(short_help="Write a first tfguard.yml.", context_settings=_SETTINGS)
@click.pass_obj
def init(call: Call) -> int:
    """Write a first tfguard.yml, from the Terraform directories below; never over a file.

    For example: tfguard config init
    """
    from tfguard.commands import config_init as command

    return command.init(call)


@config.command(short_help="Show the settings in effect.", context_settings=_SETTINGS)
@takes_pipeline
@click.option("--origin", "has_origins", is_flag=True, help="Show where each value comes from.")
@as_json
@click.pass_obj
def show(call: Call, pipeline: str | None, *, has_origins: bool, is_json: bool) -> int:
    """Show the settings in effect for PIPELINE, or for this directory.

    For example: tfguard config show prod/network --origin
    """
    from tfguard.commands import config as command

    return command.show(call.about(pipeline), has_origins=has_origins, is_json=is_json)


@config.command(short_help="Check the whole file.", context_settings=_SETTINGS)
@takes_pipeline
@click.pass_obj
def validate(call: Call, pipeline: str | None) -> int:
    """Check tfguard.yml; with PIPELINE, also that its variables are set.

    For example: tfguard config validate
    """
    from tfguard.commands import config as command

    return command.validate(call.about(pipeline))


@config.command("list", short_help="List the pipelines.", context_settings=_SETTINGS)
@click.option("--json", "is_json", is_flag=True, help="As a JSON array, for a CI matrix.")
@click.option("--changed-since", "since", default="", help="Only those whose files have changed since that commit.")
@click.pass_obj
def list_(call: Call, *, is_json: bool, since: str) -> int:
    """List the pipelines of tfguard.yml.

    For example: tfguard config list --json --changed-since origin/main
    """
    from tfguard.commands import config as command

    return command.list_pipelines(call, since=since, is_json=is_json)


@config.command(short_help="Print the file's JSON Schema.", context_settings=_SETTINGS)
def schema() -> int:
    """Print the JSON Schema of tfguard.yml, for editors.

    For example: tfguard config schema > tfguard.schema.json
    """
    from tfguard.commands import config as command

    return command.print_schema()


helping.explain(group)
