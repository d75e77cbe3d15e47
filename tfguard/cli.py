"""
The command line: which command is ours, which is Terraform's, and what every error becomes.

The only place that turns errors into words and exit codes. click serves our own commands; Terraform's are not parsed
here at all, and pay nothing for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from tfguard import log, options
from tfguard.errors import Interrupted, TfguardError, UsageError
from tfguard.options import Options
from tfguard.report import Report, write

#: Our own commands; every other word is Terraform's.
OWN = frozenset({"run", "exec", "doctor"})


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run tfguard and exit: with Terraform's status, or with ours as in `errors`."""
    words = list(sys.argv[1:] if argv is None else argv)
    code, stopped_by = 70, 0
    try:
        code = _dispatch(words, os.environ)
    except Interrupted as error:
        stopped_by = error.signal_number
        _say(str(error))
    except TfguardError as error:
        code = error.exit_code
        _say(str(error))
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person gets a line, not a traceback
        _say_unexpected(error)
    _leave(code, stopped_by)


def _say(text: str) -> None:
    if text:
        write(log.redact(text) + "\n")


def _say_unexpected(error: Exception) -> None:
    if os.environ.get("TFGUARD_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    _say(
        f"tfguard: unexpected {type(error).__name__}: {error}\n"
        "This is a defect of tfguard's; a lock it held is released or left to its lease. "
        "TFGUARD_TRACEBACK=1 shows where."
    )


def _leave(code: int, stopped_by: int) -> NoReturn:
    """Exit without waiting for threads that may be stuck; after a signal, die of it, so that an outer shell stops."""
    from tfguard.signals import die_of

    stopped_by = stopped_by or (code - 128 if code in (129, 130, 131, 143) else 0)
    if stopped_by:
        die_of(stopped_by)
    os._exit(code)


def _dispatch(words: list[str], environ: Mapping[str, str]) -> int:
    if words[:1] == ["--version"]:
        return _print_version(environ)
    if words[:1] == ["--help"]:
        return _run_own(options.Options(command=("--help",)), environ, Report("console", 0))
    found = options.parse(words)
    log_format = log.choose_format(found.log_format, environ)
    log.configure(log_format, found.verbosity)
    log.register_secrets(_secrets_of(environ))
    report = Report(log_format, found.verbosity)
    if not found.is_raw and found.command[:1] and found.command[0] in OWN:
        return _run_own(found, environ, report)
    from tfguard.commands.terraform import run_terraform

    return run_terraform(found, environ, report)


def _secrets_of(environ: Mapping[str, str]) -> list[str]:
    """What the environment holds that must never be printed."""
    marks = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY")
    return [
        value
        for name, value in environ.items()
        if name.startswith("TF_VAR_") or any(mark in name for mark in marks) and "FILE" not in name
    ]


def _print_version(environ: Mapping[str, str]) -> int:
    from pathlib import Path

    from tfguard import __version__
    from tfguard.context import cache_dir
    from tfguard.terraform import binary_version, find_binary

    print(f"tfguard {__version__}")  # noqa: T201 - asked for
    try:
        binary = find_binary(environ, flag=None, kind=None, self_path=Path(sys.argv[0]))
    except TfguardError:
        return 0
    print(f"{binary.kind} {binary_version(binary, environ, cache_dir(environ)) or 'of unknown version'}")  # noqa: T201
    sys.stdout.flush()
    return 0


def _run_own(found: Options, environ: Mapping[str, str], report: Report) -> int:
    import click

    try:
        code = _group(found, environ, report).main(
            args=list(found.command), prog_name="tfguard", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        raise UsageError(error.format_message()) from error
    except click.ClickException as error:
        raise UsageError(f"{error.format_message()}\nSee: tfguard {' '.join(found.command[:1])} --help") from error
    except click.exceptions.Abort as error:
        raise UsageError("Aborted.") from error
    sys.stdout.flush()
    return int(code or 0)


def _group(found: Options, environ: Mapping[str, str], report: Report) -> Any:
    """Our own commands, bound to this call."""
    import click

    settings = {"help_option_names": ["--help", "-h", "-help"]}
    verbatim = {"ignore_unknown_options": True, "allow_interspersed_args": False, **settings}

    @click.group(context_settings=settings, help=_HELP)
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
        if bool(name) != bool(store):
            raise UsageError("--name and --store go together.\nFor example: --name deploy --store dynamodb://locks")
        return run_exec(found, environ, report, argv, name=name, store=store)

    @group.command("doctor", short_help="Check that tfguard protects this state.", context_settings=settings)
    @click.argument("pipeline", required=False)
    @click.option("--prove-lock", is_flag=True, help="Hold the lock and let the real Terraform run into it.")
    def doctor(pipeline: str | None, *, prove_lock: bool) -> int:
        """Show that Terraform is refused while tfguard holds the lock.

        For example: tfguard doctor --prove-lock
        """
        from tfguard.commands import doctor as command

        if not prove_lock:
            raise UsageError("doctor needs to know what to check.\nFor example: tfguard doctor --prove-lock")
        return command.prove_lock(_with_pipeline(found, pipeline), environ, report)

    return group


def _with_pipeline(found: Options, pipeline: str | None) -> Options:
    """PIPELINE as an argument means what -p means."""
    if pipeline and found.pipeline and pipeline != found.pipeline:
        raise UsageError(f"-p says {found.pipeline}, the argument says {pipeline}.\nGive one of them.")
    return replace(found, pipeline=pipeline or found.pipeline)


Command = Callable[..., int]

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
  --verbose, --quiet       more, or less
  --version                tfguard's and Terraform's

Every other word is Terraform's: tfguard -help shows its commands.
"""
