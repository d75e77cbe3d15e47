"""
`tfguard completion`: what Tab offers in bash, zsh and fish.

The scripts are click's own, and so is what our commands offer; what stands before the command, and Terraform's own
commands, click does not know. A shell that asks gets words or nothing: never an error, never a message.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click import Group
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from tfguard.config.options import ASKED_AT_TAB, REPORT, SWITCHES, TAKING_VALUES, VALUED, Options
from tfguard.errors import TfguardError
from tfguard.outlet import write_answer
from tfguard.terraform.commands import NAMES, SUBCOMMANDS

Item = CompletionItem[str]

#: What a value may be: words, or the kind of path that the shell itself completes.
_VALUES: Mapping[str, tuple[Item, ...]] = {
    "--config": (CompletionItem("", type="file"),),
    "--terraform": (CompletionItem("", type="file"),),
    REPORT: (CompletionItem("", type="file"),),
    "--chdir": (CompletionItem("", type="dir"),),
    "-chdir": (CompletionItem("", type="dir"),),
    "--log-format": (CompletionItem("console"), CompletionItem("json")),
}
_PIPELINE = ("-p", "--pipeline")


def print_script(shell: str) -> int:
    """Print what a shell has to read once to ask us from then on."""
    text = ShellComplete.source(_completer(shell))
    # An older bash, as macOS has it, does not know this option, and would complain in every new shell.
    asked = "complete -o nosort -F _tfguard_completion tfguard"
    text = text.replace(asked, f"{asked} 2>/dev/null || complete -F _tfguard_completion tfguard")
    write_answer(text.strip())
    return 0


def print_completions(group: Group, environ: Mapping[str, str]) -> None:
    """Print the words that the shell may put in, one a line, in the form that its script reads."""
    asked = _completer(environ.get(ASKED_AT_TAB, "").removesuffix("_complete"), group)
    words, incomplete = asked.get_completion_args()
    for item in _Line.read(words, incomplete).completions(asked):
        write_answer(asked.format_completion(item))


def pipeline_names(options: Options, incomplete: str) -> list[str]:
    """Name the pipelines that begin so; none where there is no tfguard.yml, or a wrong one."""
    from tfguard.config.file import find_config, load

    try:
        path = find_config(Path.cwd() / (options.chdir or ""), options.config, os.environ)
        names = load(path).names if path else []
    except TfguardError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _completer(shell: str, group: Group | None = None) -> ShellComplete:
    found = get_completion_class(shell)
    assert found is not None
    return found(group or Group(), {}, "tfguard", ASKED_AT_TAB)


@dataclass(frozen=True)
class _Line:
    """
    The command line so far. `pending` is the option whose value is being typed, empty if none is; `prefix` has to
    stand before every word that is offered, where the shell takes `--option=value` for one word.
    """

    options: Options
    command: tuple[str, ...]
    incomplete: str
    pending: str = ""
    prefix: str = ""

    @classmethod
    def read(cls, words: Sequence[str], incomplete: str) -> _Line:
        """Read our options off the front of the line. Nothing is wrong here yet, only unfinished."""
        found: dict[str, Any] = {}
        rest = _joined([*words, incomplete])
        while len(rest) > 1 and rest[0].startswith("-"):
            name, equals, value = rest.pop(0).partition("=")
            if name in TAKING_VALUES and not equals:
                if len(rest) == 1:
                    return cls(Options(**found), (), rest[0], pending=name)
                value = rest.pop(0)
            if name in VALUED:
                found[VALUED[name]] = value
        name, equals, value = rest[0].partition("=")
        if len(rest) == 1 and equals and name in TAKING_VALUES:
            # bash has split the word at the sign itself, and replaces only what follows it.
            prefix = "" if rest[0] != incomplete else f"{name}="
            return cls(Options(**found), (), value, pending=name, prefix=prefix)
        return cls(Options(**found), tuple(rest[:-1]), rest[-1])

    def completions(self, asked: ShellComplete) -> Iterator[Item]:
        """Offer what may stand here."""
        if self.pending:
            yield from self._values()
        elif not self.command:
            yield from self._first_words(asked)
        elif self.command[0] in _commands_of(asked):
            asked.ctx_args["obj"] = self.options
            yield from asked.get_completions(list(self.command), self.incomplete)
        elif len(self.command) == 1 and self.command[0] in SUBCOMMANDS:
            yield from _beginning(self.incomplete, SUBCOMMANDS[self.command[0]])
        else:
            yield CompletionItem(self.incomplete, type="file")  # Plans, states, files of variables.

    def _values(self) -> Iterator[Item]:
        if self.pending in _PIPELINE:
            names = pipeline_names(self.options, self.incomplete)
            yield from (CompletionItem(self.prefix + name) for name in names)
        for item in _VALUES.get(self.pending, ()):
            if item.type != "plain":
                yield CompletionItem(self.incomplete, type=item.type)
            elif item.value.startswith(self.incomplete):
                yield CompletionItem(self.prefix + item.value)

    def _first_words(self, asked: ShellComplete) -> Iterator[Item]:
        if self.incomplete.startswith("-"):
            yield from _beginning(self.incomplete, [*TAKING_VALUES, *SWITCHES, "--help", "--version"])
            return
        ours = _commands_of(asked)
        for name in sorted({*ours, *NAMES}):
            if name.startswith(self.incomplete):
                yield CompletionItem(name, help=ours.get(name, "Terraform's"))


def _commands_of(asked: ShellComplete) -> dict[str, str]:
    assert isinstance(asked.cli, Group)
    return {name: command.get_short_help_str() for name, command in asked.cli.commands.items()}


def _beginning(incomplete: str, words: Sequence[str]) -> Iterator[Item]:
    return (CompletionItem(word) for word in words if word.startswith(incomplete))


def _joined(words: Sequence[str]) -> list[str]:
    """Put together again what bash has split at `=`: `--pipeline`, `=`, `prod`."""
    found: list[str] = []
    is_open = False
    for word in words:
        if word == "=" and found and not is_open:
            found[-1] += "="
            is_open = True
        elif is_open:
            found[-1] += word
            is_open = False
        else:
            found.append(word)
    return found
