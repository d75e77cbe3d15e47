"""
What `tfguard WORD --help` says beyond the options: variables of the environment, exit codes, and where the manual is.

The whole tables are in the manual and in `man tfguard`; a command names those rows that matter to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from tfguard import MANUAL
from tfguard.config.keys import keys

#: Exit status → what it means. Terraform's own is passed on as it is.
EXIT_CODES = {
    "0": "done",
    "1": "a check has failed, of a lock nothing could be had, or you said no",
    "3": "a lock waits for a person",
    "64": "the command line is wrong",
    "69": "the store cannot be reached",
    "70": "a defect of tfguard's",
    "75": "the lock is busy: gave up waiting",
    "76": "the lock was lost while the program ran",
    "77": "the store denied us: permissions or credentials",
    "78": "the configuration, the directory or the machine cannot be used as it is",
    "124": "the run took longer than run_timeout",
    "126": "the program cannot be run",
    "127": "no such program",
    "other": "that of Terraform, or of the program, as it is",
    "128+n": "ended by signal n: 130 after Ctrl-C, 143 after SIGTERM",
}
#: Variable → what it says, beside those of the keys of tfguard.yml.
_OTHERS = {
    "TFGUARD_CONFIG": "the tfguard.yml to use, as --config",
    "TFGUARD_TERRAFORM": "the terraform or tofu to run, as --terraform",
    "TFGUARD_LOG_FORMAT": "console or json, as --log-format",
    "TFGUARD_WHO": "who this is, for others who wait: user@host",
    "TFGUARD_RECORDS": "the folder of the records by which settle finds this job's runs",
    "TFGUARD_RUN_URL": "where this run is to be seen, for others who wait",
    "NO_COLOR": "no colours",
    "FORCE_COLOR": "colours, even where no terminal is; so does CLICOLOR_FORCE",
}


class Matters(NamedTuple):
    """What matters to a command, as the names of rows above; `has_keys`: the variables of tfguard.yml's keys, too."""

    exits: tuple[str, ...]
    environment: tuple[str, ...] = ()
    has_keys: bool = False


_LOOKING = ("TFGUARD_CONFIG", "NO_COLOR")
_RUNNING = ("TFGUARD_CONFIG", "TFGUARD_TERRAFORM", "TFGUARD_WHO", "TFGUARD_RUN_URL")
_OURSELVES = ("TFGUARD_CONFIG", "TFGUARD_WHO")
_STORE = ("69", "77", "78")
#: Command → what matters to it.
MATTERS = {
    "run": Matters(("75", "76", *_STORE, "124", "128+n", "other"), _RUNNING, has_keys=True),
    "exec": Matters(("75", "76", *_STORE, "124", "127", "128+n", "other"), _OURSELVES, has_keys=True),
    "doctor": Matters(("0", "1", "78"), (*_LOOKING, "TFGUARD_TERRAFORM")),
    "bootstrap": Matters(("0", "1", *_STORE), _LOOKING),
    "status": Matters(("0", "1", "3", *_STORE), _LOOKING),
    "unlock": Matters(("0", "1", "75", *_STORE), _OURSELVES),
    "history": Matters(("0", "1", *_STORE), _LOOKING),
    "hold": Matters(("0", "1", "75", *_STORE, "128+n"), (*_OURSELVES, "TFGUARD_LOCK_TIMEOUT")),
    "settle": Matters(("0", "75", *_STORE), ("TFGUARD_RECORDS",)),
    "completion": Matters(("0", "64")),
    "config": Matters(("0", "78"), ("TFGUARD_CONFIG",)),
    "config init": Matters(("0", "78")),
    "config show": Matters(("0", "78"), _LOOKING, has_keys=True),
    "config validate": Matters(("0", "78"), ("TFGUARD_CONFIG",)),
    "config list": Matters(("0", "78"), ("TFGUARD_CONFIG",)),
    "config schema": Matters(("0",)),
}


def environment() -> dict[str, str]:
    """Return every variable that people set, with what it says."""
    declared = {key.environment: ".".join(map(str, path)) for path, key in keys().items() if key.environment}
    of_keys = {name: f"as {path} in tfguard.yml" for name, path in declared.items()}
    return {**of_keys, **_OTHERS}


def explain(group: click.Group, *above: str) -> None:
    """Let each command of the group say what matters to it, below its options."""
    for name, command in group.commands.items():
        command.epilog = _epilog(MATTERS[" ".join((*above, name))])
        if isinstance(command, click.Group):
            explain(command, *above, name)


def _epilog(matters: Matters) -> str:
    """Write paragraphs that click does not wrap anew."""
    variables = environment()
    of_keys = [name for name in variables if name not in _OTHERS] if matters.has_keys else []
    names = dict.fromkeys((*matters.environment, *of_keys))
    parts = [
        ("Environment:", [(name, variables[name]) for name in names]),
        ("Exit status:", [(code, told) for code, told in EXIT_CODES.items() if code in matters.exits]),
    ]
    paragraphs = ["\n".join(["\b", title, *_rows(rows)]) for title, rows in parts if rows]
    return "\n\n".join([*paragraphs, f"Manual: man tfguard, or {MANUAL}"])


def _rows(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"  {name:<{width}}  {text}"
