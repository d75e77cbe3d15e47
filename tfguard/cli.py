"""
The command line: which command is ours, which is Terraform's, and what every error becomes.

The only place that turns errors into words and exit codes. click serves our own commands; Terraform's are not parsed
here at all, and pay nothing for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from tfguard import log, messages, options
from tfguard.errors import Interrupted, TfguardError, UsageError
from tfguard.options import Options
from tfguard.report import Report, write

if TYPE_CHECKING:
    import click

#: Our own commands; every other word is Terraform's.
OWN = frozenset({"run", "exec", "doctor", "status", "history", "hold", "config", "unlock", "settle"})


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run tfguard and exit: with Terraform's status, or with ours as in `errors`."""
    words = list(sys.argv[1:] if argv is None else argv)
    teller = _Teller(os.environ)
    code, stopped_by = 70, 0
    try:
        code = _dispatch(words, os.environ, teller)
    except Interrupted as error:
        code, stopped_by = error.exit_code, error.signal_number
        teller.tell(error)
    except TfguardError as error:
        code = error.exit_code
        teller.tell(error)
    except KeyboardInterrupt:  # Only where no front listens: before there is one, or while we look, watch or ask.
        code, stopped_by = 130, signal.SIGINT
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person gets a line, not a traceback
        teller.tell_unexpected(error)
    _leave(code, stopped_by)


class _Teller:
    """Turns errors into words, in the form that was asked for as far as that is known yet."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        log.register_secrets(log.secrets_among(environ))
        is_json = environ.get("TFGUARD_LOG_FORMAT") == "json"
        self.label = self.again = "tfguard"
        self.listen("json" if is_json else "console", 0)

    def listen(self, log_format: log.Format, verbosity: int) -> None:
        """Settle the form."""
        log.configure(log_format, verbosity)
        self.report = Report(log_format, verbosity)

    def tell(self, error: TfguardError) -> None:
        """Say what went wrong, unless the run has said so itself."""
        text = str(error)
        if error.is_said or not text:
            return
        if not text.startswith((self.label, "/", "…")):  # A directory is a label too.
            text = messages.about(self.label, text)
        # Whoever found the directory not initialised does not know by which options we were called.
        text = text.replace("\nRun: tfguard init", f"\nRun: {self.again} init")
        self.report.say("error", "run.failed", text, label=self.label, reason=error.outcome, exit_code=error.exit_code)

    def tell_unexpected(self, error: Exception) -> None:
        """Say that we are at fault."""
        if os.environ.get("TFGUARD_TRACEBACK"):
            import traceback

            write(log.redact("".join(traceback.format_exception(error))))
        self.report.say("error", "run.failed", messages.unexpected(error), label=self.label, reason="internal")


def _leave(code: int, stopped_by: int) -> NoReturn:
    """Exit without waiting for threads that may be stuck; after a signal, die of it, so that an outer shell stops."""
    from tfguard.signals import die_of

    stopped_by = stopped_by or (code - 128 if code in (129, 130, 131, 143) else 0)
    if stopped_by:
        die_of(stopped_by)
    os._exit(code)


def _dispatch(words: list[str], environ: Mapping[str, str], teller: _Teller) -> int:
    if words[:1] == ["--version"]:
        return _print_version(environ)
    if words[:1] == ["--help"]:
        return _run_own(options.Options(command=("--help",)), environ, teller.report)
    found = options.parse(words)
    named = replace(found, pipeline=found.pipeline or _pipeline_to_run(found.command))
    teller.label, teller.again = named.pipeline or "tfguard", named.again
    teller.listen(log.choose_format(found.log_format, environ), found.verbosity)
    if not found.is_raw and found.command[:1] and found.command[0] in OWN:
        return _run_own(found, environ, teller.report)
    from tfguard.commands.terraform import run_terraform

    return run_terraform(found, environ, teller.report)


def _pipeline_to_run(command: tuple[str, ...]) -> str | None:
    """The PIPELINE of `run PIPELINE`, for messages."""
    words = [word for word in command[1:] if not word.startswith("-")]
    return words[0] if command[:1] == ("run",) and words else None


def _print_version(environ: Mapping[str, str]) -> int:
    from pathlib import Path

    from tfguard import __version__
    from tfguard.context import cache_dir
    from tfguard.terraform import binary_version, find_binary

    lines = [f"tfguard {__version__}"]
    try:
        binary = find_binary(environ, flag=None, kind=None, self_path=Path(sys.argv[0]))
    except TfguardError:
        lines.append("terraform not found")
    else:
        lines.append(f"{binary.kind} {binary_version(binary, environ, cache_dir(environ)) or 'of unknown version'}")
    with contextlib.suppress(OSError):  # Whoever asked has gone: `tfguard --version | true`.
        os.write(1, ("\n".join(lines) + "\n").encode())
    return 0


def _run_own(found: Options, environ: Mapping[str, str], report: Report) -> int:
    import click

    try:
        code = _group(found, environ, report).main(args=list(found.command), prog_name="tfguard", standalone_mode=False)
    except click.ClickException as error:
        raise UsageError(f"{_uncapitalised(error.format_message())}\nSee: tfguard {found.command[0]} --help") from error
    except click.exceptions.Abort as error:
        raise Interrupted("", signal_number=signal.SIGINT) from error
    sys.stdout.flush()
    return int(code or 0)


def _group(found: Options, environ: Mapping[str, str], report: Report) -> Any:
    """Our own commands, bound to this call."""
    import click

    settings = {"help_option_names": ["--help", "-h", "-help"]}
    verbatim = {"ignore_unknown_options": True, "allow_interspersed_args": False, **settings}

    @click.group(context_settings={"help_option_names": ["--help"]}, help=_HELP)  # -h and -help are Terraform's
    def group() -> None:
        pass

    @group.command("run", short_help="Run a pipeline's steps under one lock.", context_settings=settings)
    @click.argument("pipeline", required=False)
    def run(pipeline: str | None) -> int:
        """Run the steps of PIPELINE (init, plan, apply of that very plan) under one lock.

        For example: tfguard run prod/network
        """
        from tfguard.commands.run import run_pipeline

        return run_pipeline(_with_pipeline(found, pipeline), environ, report)

    @group.command("exec", short_help="Run any program while the lock is held.", context_settings=verbatim)
    @click.option("--name", help="A named lock instead of this directory's; with --store.")
    @click.option("--store", help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX, file:///DIR.")
    @click.argument("argv", nargs=-1, type=click.UNPROCESSED)
    def exec_(name: str | None, store: str | None, argv: tuple[str, ...]) -> int:
        """Run a program while this directory's state lock is held.

        For example: tfguard exec -- ./deploy.sh
        """
        from tfguard.commands.exec import run_exec

        if not argv:
            raise UsageError("exec needs a program to run.\nFor example: tfguard exec -- ./deploy.sh")
        _check_named(name, store)
        return run_exec(found, environ, report, argv, name=name, store=store)

    @group.command("doctor", short_help="Check that tfguard protects this state.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--prove-lock", is_flag=True, help="Hold the lock and let the real Terraform run into it.")
    @click.option("--repair-digest", is_flag=True, help="Write the digest of the state as it is, under the lock.")
    @click.option("--yes", "is_sure", is_flag=True, help="Do not ask; with --repair-digest.")
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    def doctor(pipeline: str | None, *, prove_lock: bool, repair_digest: bool, is_sure: bool, is_json: bool) -> int:
        """Check what could keep tfguard from protecting this state; exit 1 if something does.

        For example: tfguard doctor prod/network
        """
        from tfguard.commands import doctor as command

        options = _with_pipeline(found, pipeline)
        if prove_lock + repair_digest + is_json > 1:
            raise UsageError("--prove-lock, --repair-digest and --json exclude each other.\nGive one of them.")
        if prove_lock:
            return command.prove_lock(options, environ, report)
        if repair_digest:
            return command.repair_digest(options, environ, report, is_sure=is_sure)
        return command.run_doctor(options, environ, report, is_json=is_json)

    _add_operators_commands(group, found, environ, report)
    _add_commands_on_call(group, found, environ, report)
    return group


def _add_operators_commands(group: click.Group, found: Options, environ: Mapping[str, str], report: Report) -> None:
    """What an operator calls: they look at a lock, or free it; none runs Terraform."""
    import click

    settings = {"help_option_names": ["--help", "-h", "-help"]}

    @group.command("status", short_help="Show who holds the lock, and whether it lives.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    @click.option("--name", help="A named lock instead of this directory's; with --store.")
    @click.option("--store", help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX, file:///DIR.")
    @click.option("--all", "is_all", is_flag=True, help="Every pipeline of tfguard.yml.")
    @click.option("--backend", "is_backend", is_flag=True, help="Every lock in this backend's table or bucket.")
    def status(
        pipeline: str | None, *, is_json: bool, is_all: bool, is_backend: bool, name: str | None, store: str | None
    ) -> int:
        """Show who holds the lock, its heartbeat, and how the last run ended.

        For example: tfguard status prod/network
        """
        from tfguard.commands.status import run_status, run_status_of_all, run_status_of_backend

        _check_named(name, store)
        options = _with_pipeline(found, pipeline)
        if is_all + is_backend + bool(name) > 1 or (is_all and options.pipeline):
            raise UsageError("--all, --backend, --name and a pipeline exclude each other.\nGive one of them.")
        if is_all:
            return run_status_of_all(options, environ, report, is_json=is_json)
        if is_backend:
            return run_status_of_backend(options, environ, report, is_json=is_json)
        return run_status(options, environ, report, is_json=is_json, name=name, store=store)

    @group.command("unlock", short_help="Free a lock whose holder is dead.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--id", "lock_id", default="", help="The ID of the lock to free: exactly that one.")
    @click.option("--force", is_flag=True, help="Even if its holder is alive; with --reason.")
    @click.option("--reason", default="", help="Why; kept in the lock's history.")
    @click.option("--yes", is_flag=True, help="Do not ask; with --id.")
    @click.option("--name", help="A named lock instead of this directory's; with --store.")
    @click.option("--store", help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX, file:///DIR.")
    def unlock(
        pipeline: str | None,
        *,
        lock_id: str,
        force: bool,
        reason: str,
        yes: bool,
        name: str | None,
        store: str | None,
    ) -> int:
        """Free a lock whose holder is dead. Shows whose it is, watches for its heartbeat, asks.

        For example: tfguard unlock --id 0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100
        """
        from tfguard.commands.unlock import Decision, run_unlock

        _check_named(name, store)
        if force and not reason:
            raise UsageError('--force needs a reason.\nFor example: --force --reason "its runner was terminated"')
        decision = Decision(lock_id=lock_id, is_forced=force, reason=reason, is_sure=yes)
        return run_unlock(_with_pipeline(found, pipeline), environ, report, decision, name=name, store=store)

    @group.command("settle", short_help="Wait for, or clear up after, this job's runs.", context_settings=settings)
    @click.option("--timeout", default="4m", help="How long to wait, at most (4m).")
    @click.option("--record", default="", help="The record file, or the folder of them, to settle.")
    def settle(timeout: str, record: str) -> int:
        """Wait until no run of this job holds its lock; release what a killed one has left.

        For example, as a job's last step, whatever became of the others: tfguard settle
        """
        from tfguard.commands.settle import run_settle
        from tfguard.durations import parse_duration

        try:
            seconds = parse_duration(timeout)
        except ValueError as error:
            raise UsageError(f"--timeout: {error}.") from error
        return run_settle(environ, report, timeout_seconds=seconds, place=record)


def _add_commands_on_call(group: click.Group, found: Options, environ: Mapping[str, str], report: Report) -> None:
    """What the one on call needs beyond looking at one lock and freeing it."""
    import click

    settings = {"help_option_names": ["--help", "-h", "-help"]}

    @group.command("history", short_help="Show the last runs of a state.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    @click.option("--name", help="A named lock instead of this directory's; with --store.")
    @click.option("--store", help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX, file:///DIR.")
    def history(pipeline: str | None, *, is_json: bool, name: str | None, store: str | None) -> int:
        """Show the last runs: who, how long they waited and held the lock, how they ended.

        For example: tfguard history prod/network
        """
        from tfguard.commands.history import run_history

        _check_named(name, store)
        options = _with_pipeline(found, pipeline)
        return run_history(options, environ, report, is_json=is_json, name=name, store=store)

    @group.command("hold", short_help="Hold a state for maintenance, running nothing.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--reason", required=True, help="Why; shown to everybody who waits.")
    @click.option("--for", "duration", default="2h", help="For how long (2h).")
    @click.option("--name", help="A named lock instead of this directory's; with --store.")
    @click.option("--store", help="Where it lives: dynamodb://TABLE, s3://BUCKET/PREFIX.")
    def hold(pipeline: str | None, *, reason: str, duration: str, name: str | None, store: str | None) -> int:
        """Hold the lock by hand until its time is over, or until `tfguard unlock`.

        For example: tfguard hold --reason "moving the subnets" --for 2h
        """
        from tfguard.commands.hold import run_hold

        _check_named(name, store)
        options = _with_pipeline(found, pipeline)
        return run_hold(options, environ, report, reason=reason, duration=duration, name=name, store=store)

    _add_config_commands(group, found, environ, report)


def _add_config_commands(group: click.Group, found: Options, environ: Mapping[str, str], report: Report) -> None:
    import click

    settings = {"help_option_names": ["--help", "-h", "-help"]}

    @group.group("config", short_help="Show and check tfguard.yml.", context_settings=settings)
    def config() -> None:
        """Show and check tfguard.yml.

        For example: tfguard config show prod/network --origin
        """

    @config.command("show", short_help="Show the values that hold.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--origin", "has_origins", is_flag=True, help="Show where each value comes from.")
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    def show(pipeline: str | None, *, has_origins: bool, is_json: bool) -> int:
        """Show the values that hold for PIPELINE, or for this directory.

        For example: tfguard config show prod/network --origin
        """
        from tfguard.commands import config as command

        return command.show(_with_pipeline(found, pipeline), environ, has_origins=has_origins, is_json=is_json)

    @config.command("validate", short_help="Check the whole file.", context_settings=settings)
    @click.argument("pipeline", required=False)
    def validate(pipeline: str | None) -> int:
        """Check tfguard.yml; with PIPELINE, also that its variables are set.

        For example: tfguard config validate
        """
        from tfguard.commands import config as command

        return command.validate(_with_pipeline(found, pipeline), environ, report)

    @config.command("list", short_help="List the pipelines.", context_settings=settings)
    @click.option("--json", "is_json", is_flag=True, help="As a JSON array, for a CI matrix.")
    @click.option("--changed-since", "since", default="", help="Only those whose files have changed since that commit.")
    def list_(*, is_json: bool, since: str) -> int:
        """List the pipelines of tfguard.yml.

        For example: tfguard config list --json --changed-since origin/main
        """
        from tfguard.commands import config as command

        return command.list_pipelines(found, environ, since=since, is_json=is_json)

    @config.command("schema", short_help="Print the file's JSON Schema.", context_settings=settings)
    def schema() -> int:
        """Print the JSON Schema of tfguard.yml, for editors.

        For example: tfguard config schema > tfguard.schema.json
        """
        from tfguard.commands import config as command

        return command.print_schema()


def _check_named(name: str | None, store: str | None) -> None:
    if bool(name) != bool(store):
        raise UsageError("--name and --store go together.\nFor example: --name deploy --store dynamodb://locks")


def _with_pipeline(found: Options, pipeline: str | None) -> Options:
    """PIPELINE as an argument means what -p means."""
    if pipeline and found.pipeline and pipeline != found.pipeline:
        raise UsageError(f"-p says {found.pipeline}, the argument says {pipeline}.\nGive one of them.")
    return replace(found, pipeline=pipeline or found.pipeline)


_HELP = """Run Terraform under its own state lock.

\b
  tfguard apply -auto-approve          any Terraform command and its arguments
  tfguard -p prod/network plan         for a pipeline of tfguard.yml
  tfguard -- ARGS…                     always Terraform itself, untouched

\b
Options, before the command:
  -p, --pipeline NAME      a pipeline of tfguard.yml
  --config FILE            instead of the nearest tfguard.yml
  -chdir=DIR, --chdir DIR  work in DIR
  --lock-timeout DURATION  how long to wait for the lock (10m)
  --terraform PATH         the terraform or tofu to run
  --log-format FORMAT      console or json
  --ignore-errored-state   run even where a former run's state waits to be saved
  --verbose, --quiet       more, or less
  --version                tfguard's and Terraform's

Every other word is Terraform's: tfguard -help shows its commands.
"""


def _uncapitalised(text: str) -> str:
    """As a message goes on after its label."""
    return text[:1].lower() + text[1:]
