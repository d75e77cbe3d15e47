"""
`tfguard COMMAND …`: any command of Terraform's, under the lock if it takes one; `tfguard -- …`: Terraform untouched.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfguard.config.options import OURS_ALONE, SWITCHES
from tfguard.errors import UsageError
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.terraform_command import become_terraform, run_command
from tfguard.terraform import command_line


def run_terraform(call: Call) -> RunEnded | int:
    """
    Run one Terraform command line; return how it ended, or do not return (`execve`).

    Raises:
        TfguardError: Nothing was run, and why.
    """
    if call.options.is_raw:
        become_terraform(make_context(call), call.options.command, call.environ)
    misplaced = None if call.options.stands_for else command_line.misplaced_option(call.options.command, OURS_ALONE)
    if misplaced:
        raise _misplaced(misplaced, call.options.command)
    return run_command(call)


def _misplaced(option: str, command: Sequence[str]) -> UsageError:
    at = next(index for index, word in enumerate(command) if word.partition("=")[0] == option)
    value = command[at + 1] if "=" not in command[at] and at + 1 < len(command) else ""
    has_value = option not in SWITCHES and "=" not in command[at] and value
    moved = f"{command[at]} {value}" if has_value else command[at]
    return UsageError(f"`{option}` belongs before the command: tfguard {moved} {command[0]}")
