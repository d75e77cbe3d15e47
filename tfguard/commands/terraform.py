"""
`tfguard COMMAND …`: any command of Terraform's, under the lock if it takes one; `tfguard -- …`: Terraform untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tfguard.config.options import OURS_ALONE, SWITCHES, Options
from tfguard.errors import UsageError
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.terraform_command import become_terraform, run_command
from tfguard.terraform import command_line

EXPECT = "--expect"
_EXPECTING = (["apply"], ["destroy"])


def run_terraform(call: Call) -> RunEnded | int:
    """
    Run one Terraform command line; return how it ended, or do not return (`execve`).

    Raises:
        TfguardError: Nothing was run, and why.
    """
    if call.options.is_raw:
        become_terraform(make_context(call), call.options.command, call.environ)
    if not call.options.stands_for:
        call.options = with_expectation_first(call.options)
    misplaced = None if call.options.stands_for else command_line.misplaced_option(call.options.command, OURS_ALONE)
    if misplaced:
        raise _misplaced(misplaced, call.options.command)
    if call.options.expect:
        from tfguard.run.expected import apply_expected

        return apply_expected(call)
    return run_command(call)


def with_expectation_first(options: Options) -> Options:
    """Take `--expect` from behind `apply` and `destroy`: it says what they shall do. Raises UsageError."""
    command = list(options.command)
    if command[:1] not in _EXPECTING:
        if options.expect:
            raise UsageError(
                "--expect goes with apply, destroy and run.", "For example: tfguard --expect plan.json apply"
            )
        return options
    if command_line.misplaced_option(command, frozenset({EXPECT})) is None:
        return options
    at = next(index for index, word in enumerate(command) if word.partition("=")[0] == EXPECT)
    _, equals, value = command[at].partition("=")
    taken = command[at : at + (1 if equals else 2)]
    value = value if equals else "".join(taken[1:])
    if not value or (not equals and value.startswith("-")):
        raise UsageError(f"{EXPECT} needs a value.", "For example: tfguard --expect plan.json apply")
    if options.expect and options.expect != value:
        raise UsageError(f"{EXPECT} is given twice.", "Give it once.")
    return replace(options, expect=value, command=(*command[:at], *command[at + len(taken) :]))


def _misplaced(option: str, command: Sequence[str]) -> UsageError:
    at = next(index for index, word in enumerate(command) if word.partition("=")[0] == option)
    value = command[at + 1] if "=" not in command[at] and at + 1 < len(command) else ""
    has_value = option not in SWITCHES and "=" not in command[at] and value
    moved = f"{command[at]} {value}" if has_value else command[at]
    return UsageError(f"`{option}` belongs before the command: tfguard {moved} {command[0]}")
