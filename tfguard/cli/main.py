"""
The command line: which command is ours, which is Terraform's, and what every error becomes.

The only place that turns errors into words and exit codes. click serves our own commands (`own_commands`);
Terraform's are not parsed here at all, and pay nothing for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from tfguard import outlet, redaction
from tfguard.ci.comment_token import take_token
from tfguard.cli import place
from tfguard.cli.surroundings import as_refused
from tfguard.config import options
from tfguard.config.options import Options
from tfguard.errors import TfguardError, UsageError
from tfguard.outlet import write_to_stderr
from tfguard.report import log
from tfguard.report.messages import phrases, starting
from tfguard.report.reporter import Reporter
from tfguard.report.run_ended import RunEnded
from tfguard.terraform.child_pin import unpin
from tfguard.text import harmless

if TYPE_CHECKING:
    from tfguard.jobfiles.story import ReportFile

#: Our own commands; every other word is Terraform's.
OWN = frozenset({"run", "exec", "doctor", "status", "history", "hold", "config", "bootstrap", "unlock", "settle"}) | {
    "completion"
}
#: What applies a plan that may have been reviewed.
_EXPECTING = (("apply",), ("destroy",), ("run",))
#: What Terraform answers with its help, as it does no word at all.
_ASKING_FOR_HELP = frozenset({"help", "-h", "-help", "--help"})
#: How alike a word must be to one of ours to be a slip of it.
_ALIKE = 0.7


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run tfguard and exit: with Terraform's status, or with ours as in `errors`."""
    if options.ASKED_AT_TAB in os.environ:
        _complete(os.environ)
    words = list(sys.argv[1:] if argv is None else argv)
    unpin(os.environ)
    take_token(os.environ)
    _say_all_that_can_be_said()
    teller = _Teller(os.environ)
    try:
        code, signal_number = _ending(_dispatch(words, os.environ, teller))
    except TfguardError as error:
        code, signal_number = error.exit_code, error.signal_number
        teller.tell(error)
    except KeyboardInterrupt:  # Only where no front listens: before there is one, or while we look, watch or ask.
        code, signal_number = 130, signal.SIGINT
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person gets a line, not a traceback
        refused = as_refused(error)
        code, signal_number = (70 if refused is None else refused.exit_code), 0
        if refused is None:
            teller.tell_unexpected(error)
        else:
            teller.tell(refused)
    _leave(code, signal_number)


def _ending(ended: RunEnded | int) -> tuple[int, int]:
    """Return the exit status of a command that has ended, and the signal that ended it."""
    return (ended, 0) if isinstance(ended, int) else (ended.exit_code, ended.signal)


def _say_all_that_can_be_said() -> None:
    """Where the terminal's encoding has no such letter (PYTHONIOENCODING, a legacy locale), show its number."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # It is no text stream, or has become another file.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _complete(environ: Mapping[str, str]) -> NoReturn:
    """Tell a shell what may be typed next: words or nothing, whatever goes wrong, for it shows all that we say."""
    with contextlib.suppress(Exception):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        from tfguard.cli import own_commands
        from tfguard.cli.completion import print_completions

        print_completions(own_commands.group, environ)
        sys.stdout.flush()
    os._exit(0)


class _Teller:
    """Turns errors into words, in the form that was asked for as far as that is known yet."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        redaction.register_secrets(redaction.secrets_among(environ))
        is_json = environ.get("TFGUARD_LOG_FORMAT") == "json"
        self.subject = phrases.Subject("tfguard")
        self.listen("json" if is_json else "console", 0)

    def listen(self, log_format: log.Format, verbosity: int, reports: Sequence[ReportFile] = ()) -> None:
        """Settle the form."""
        log.configure(log_format, verbosity)
        self.report = Reporter(log_format, verbosity, reports)

    def address(self, options: Options) -> None:
        """Settle what it is about, for labels and for the commands that messages recommend."""
        self.subject = phrases.Subject(options.pipeline or "tfguard", command=options.again)

    def tell(self, error: TfguardError) -> None:
        """Say what went wrong, and to those who wait for a run's end that there is none."""
        self.report.fail(error, self.subject, exit_code=error.exit_code)
        ended = RunEnded(
            label=self.subject.label, outcome=error.outcome, exit_code=error.exit_code, signal=error.signal_number
        )
        self.report.tell_end(ended)

    def tell_unexpected(self, error: Exception) -> None:
        """Say that we are at fault."""
        if os.environ.get("TFGUARD_TRACEBACK"):
            import traceback

            write_to_stderr(redaction.redact("".join(traceback.format_exception(error))))
        self.report.say("error", "run.failed", starting.unexpected(error), label=self.subject.label, reason="internal")


def _leave(code: int, signal_number: int) -> NoReturn:
    """Exit without waiting for threads that may be stuck; after a signal, die of it, so that an outer shell stops."""
    outlet.flush()
    if signal_number:
        from tfguard.process.signals import die_of

        die_of(signal_number)
    os._exit(code)


def _dispatch(words: list[str], environ: Mapping[str, str], teller: _Teller) -> RunEnded | int:
    found = place.in_terraforms(words, environ, sys.argv[0])
    if found is None and words[:1] == ["--version"]:
        return _print_version(environ)
    if found is None and words[:1] == ["--help"]:
        return _run_own(options.Options(command=("--help",)), environ, teller)
    if found is None:
        words = options.hoisted(words, own=OWN, ends_with={"exec": ("--name", "--store")})
        found = _about_a_command_of_ours(options.parse(words))
    teller.address(found)
    teller.listen(log.choose_format(found.log_format, environ), found.verbosity)
    if found.reports or found.report_limit:
        teller.listen(log.choose_format(found.log_format, environ), found.verbosity, _reports(found))
    if found.expect and (found.is_raw or found.command[:1] not in _EXPECTING):
        raise UsageError("--expect goes with apply, destroy and run.", "For example: tfguard --expect plan.json apply")
    if not (found.is_raw or found.stands_for) and found.command[:1] and found.command[0] in OWN:
        return _run_own(found, environ, teller)
    if not (found.is_raw or found.stands_for):
        _point_to_ours(found.command, teller)
    from tfguard.commands.terraform import run_terraform
    from tfguard.run.call import Call

    return run_terraform(Call(found, environ, teller.report))


def _about_a_command_of_ours(found: Options) -> Options:
    """`help status` is `status --help`."""
    words = found.command
    if not found.is_raw and words[:1] == ("help",) and words[1:2] and words[1] in OWN:
        return dataclasses.replace(found, command=(*words[1:], "--help"))
    return found


def _point_to_ours(words: Sequence[str], teller: _Teller) -> None:
    """Name our own commands to who asks Terraform for help on a terminal, or has misspelt one of them."""
    if not words or words[0] in _ASKING_FOR_HELP:
        if teller.report.is_live and len(words) < 2:
            teller.report.say("info", "help.pointed", starting.own_commands(sorted(OWN)))
        return
    from tfguard.terraform.commands import NAMES

    if words[0].startswith("-") or words[0] in NAMES:
        return
    import difflib

    for likely in difflib.get_close_matches(words[0], sorted(OWN), n=1, cutoff=_ALIKE):
        teller.report.say("info", "command.unknown", starting.did_you_mean(words[0], likely), likely=likely)


def _reports(found: Options) -> tuple[ReportFile, ...]:
    """Where the run is to be told. Raises UsageError where it could not be, or where there is no run."""
    from tfguard.report import report_file

    if found.is_raw or (found.command[:1] and found.command[0] in OWN - {"run", "exec"}):
        what = "what follows -- runs untouched" if found.is_raw else f"`{found.command[0]}` runs nothing"
        raise UsageError(f"--report tells of a run, and {what}.", "For example: tfguard --report plan.md plan")
    return report_file.read_options(found.reports, found.report_limit)


def _print_version(environ: Mapping[str, str]) -> int:
    from pathlib import Path

    from tfguard import __version__
    from tfguard.run.context import cache_dir
    from tfguard.terraform.binary import binary_version, find_binary

    ours = f"tfguard {__version__}"
    try:
        binary = find_binary(environ, flag=None, kind=None, self_path=Path(sys.argv[0]))
    except TfguardError:
        lines = [ours, "terraform not found"]
    else:
        version = binary_version(binary, environ, cache_dir(environ))
        # Terraform's first, in its own form: whoever has us in its place reads the first line. Terragrunt does.
        name = {"terraform": "Terraform", "tofu": "OpenTofu"}[binary.kind]
        lines = [f"{name} v{version}", ours] if version else [ours, f"{binary.kind} of unknown version"]
    with contextlib.suppress(OSError):  # Whoever asked has gone: `tfguard --version | true`.
        os.write(1, harmless("\n".join(lines) + "\n").encode())
    return 0


def _run_own(found: Options, environ: Mapping[str, str], teller: _Teller) -> RunEnded | int:
    import click

    from tfguard.cli import own_commands
    from tfguard.run.call import Call

    call = Call(found, environ, teller.report)
    try:
        ended: RunEnded | int | None = own_commands.group.main(
            args=list(found.command), prog_name="tfguard", standalone_mode=False, obj=call
        )
    except click.ClickException as error:
        raise UsageError(
            f"{_uncapitalised(error.format_message())}", f"See: tfguard {found.command[0]} --help"
        ) from error
    except click.exceptions.Abort as error:
        raise KeyboardInterrupt from error
    finally:
        teller.address(call.options)
    sys.stdout.flush()
    return ended or 0


def _uncapitalised(text: str) -> str:
    """As a message goes on after its label."""
    return text[:1].lower() + text[1:]
