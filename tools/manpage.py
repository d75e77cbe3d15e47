"""
`man tfguard`, made from what `--help` knows: `make man` writes it, and the wheel ships it.

It has no date, so that it changes only where the program does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tfguard import MANUAL, PROJECT, __version__
from tfguard.cli import helping, own_commands
from tools.own_commands import each

PAGE = Path(__file__).resolve().parents[1] / "share" / "man" / "man1" / "tfguard.1"
_ROW = re.compile(r"  (?P<what>\S.*?)  +(?P<says>\S.*)")
_SUMMARY = "run Terraform under its own state lock"
_DESCRIPTION = """\
tfguard runs Terraform, or OpenTofu, while it holds the very lock that Terraform would take. It waits in a fair line,
keeps it alive with a heartbeat, ends cleanly whatever kills the run, and takes over the lock of a run that has died.
Standard output is Terraform's, and so is the exit status."""


def page() -> str:
    """Return the whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield r".\" Made by `make man` from what --help knows: change it there."
    yield f'.TH TFGUARD 1 "" "tfguard {__version__}" "User Commands"'
    yield from (".SH NAME", rf"tfguard \- {_SUMMARY}")
    yield from (".SH SYNOPSIS", r".B tfguard")
    yield from (r"[\fIoption\fR ...] \fITerraform command\fR [\fIargument\fR ...]", ".br")
    yield from (r".B tfguard", r"\fIcommand\fR [\fIargument\fR ...]", ".br")
    yield from (r".B tfguard \-\-", r"[\fIargument\fR ...]")
    yield from (".SH DESCRIPTION", *_DESCRIPTION.splitlines())
    yield from (".PP", "Every word that is none of the commands below is Terraform's. Behind")
    yield from (r".B \-\-", "everything is, untouched.")
    yield ".SH OPTIONS"
    yield "They stand before the command; before or after one of tfguard's own."
    yield from _entries(_ROW.fullmatch(line) for line in _options(own_commands.group.help or ""))
    yield ".SH COMMANDS"
    yield from _commands()
    yield from (".SH ENVIRONMENT", *_tagged(helping.environment().items()))
    yield from (".SH EXIT STATUS", *_tagged(helping.EXIT_CODES.items()))
    yield from (".SH FILES", *_tagged([("tfguard.yml", "the pipelines of a project; looked for here and above")]))
    yield from (".SH SEE ALSO", f"The manual: {_plain(MANUAL)}", ".br", f"The project: {_plain(PROJECT)}")


def _options(text: str) -> list[str]:
    """Return the rows of the block that the help of the whole has of them."""
    block = text.partition("Options, before the command:\n")[2].partition("\n\n")[0]
    return block.splitlines()


def _entries(rows: Iterator[re.Match[str] | None]) -> Iterator[str]:
    yield from _tagged((row["what"], row["says"]) for row in rows if row)


def _commands() -> Iterator[str]:
    for command, inside in each():
        words = " ".join(command.collect_usage_pieces(inside))
        yield f'.SS "{_plain(f"{inside.command_path} {words}")}"'
        for number, paragraph in enumerate((command.help or "").split("\n\n")):
            yield from [".PP"] if number else []
            yield _plain(" ".join(paragraph.split()))
        options = [parameter for parameter in command.get_params(inside) if isinstance(parameter, click.Option)]
        records = [option.get_help_record(inside) for option in options]
        yield from _tagged(record for record in records if record and "--help" not in record[0])


def _tagged(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for what, says in rows:
        yield from (".TP", rf"\fB{_plain(what)}\fR", _plain(says))


def _plain(text: str) -> str:
    """Write text so that it stands there as it is."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    text = text.replace("…", "...").replace('"', r"\(dq")
    return rf"\&{text}" if text.startswith(".") else text


def main() -> None:
    """Write it."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
