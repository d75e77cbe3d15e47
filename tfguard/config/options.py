"""
tfguard's own options: those that stand before the command.

The command itself, and everything after it, is Terraform's or one of our own commands'. Whatever we do not know here
belongs to Terraform: `tfguard -version` and `tfguard -help` are answered by Terraform itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tfguard.config.document import KeyPath
from tfguard.config.keys import Flag, keys
from tfguard.errors import UsageError
from tfguard.text import printable

#: A shell sets this variable when it asks what may be typed next.
ASKED_AT_TAB = "_TFGUARD_COMPLETE"

#: Option → the field it sets. All take a value, as `--x value` or `--x=value`.
VALUED = {
    "--config": "config",
    "-p": "pipeline",
    "--pipeline": "pipeline",
    "--chdir": "chdir",
    "-chdir": "chdir",
    "--log-format": "log_format",
    "--terraform": "terraform",
    "--report-limit": "report_limit",
    "--expect": "expect",
}
#: The one that may be given again, as often as one likes.
REPORT = "--report"
#: Options for keys of tfguard.yml. They take a value, too.
KEY_FLAGS: dict[str, tuple[KeyPath, Flag]] = {
    key.flag.name: (path, key.flag) for path, key in keys().items() if key.flag
}
TAKING_VALUES = (*VALUED, *KEY_FLAGS, REPORT)
#: Option → the field it sets, and to what. They take no value.
SWITCHES: dict[str, tuple[str, int]] = {
    "--verbose": ("verbosity", 1),
    "--quiet": ("verbosity", -1),
    "--ignore-errored-state": ("ignores_errored", True),
}
#: For messages: each option as one would write it.
_EXAMPLES = {
    "--config": "--config ci/tfguard.yml",
    "-p": "-p prod/network",
    "--pipeline": "--pipeline prod/network",
    "--chdir": "--chdir network",
    "-chdir": "-chdir=network",
    "--log-format": "--log-format json",
    "--terraform": "--terraform /usr/bin/terraform",
    "--report": "--report plan.md",
    "--report-limit": "--report plan.md --report-limit 65000",
    "--expect": "--expect plan.json",
    **{name: f"{name} {flag.example}" for name, (_, flag) in KEY_FLAGS.items()},
}
#: Behind a command they are out of place. Terraform itself has flags with the names of the others.
OURS_ALONE = frozenset({*VALUED, *SWITCHES, REPORT}) | {
    name for name, (_, flag) in KEY_FLAGS.items() if not flag.is_terraforms
}
#: How alike two words must be for one to be a slip of the other. Below it, the word may be Terraform's own.
_ALIKE = 0.75


@dataclass(frozen=True)
class Options:
    """
    What was said before the command; `command` is what follows. `is_raw`: `--` stood there, so it is Terraform's.

    `stands_for`: we were called `terraform` or `tofu`, and every word is Terraform's.
    """

    config: str | None = None
    pipeline: str | None = None
    chdir: str | None = None
    log_format: str | None = None
    terraform: str | None = None
    verbosity: int = 0
    is_raw: bool = False
    stands_for: Literal["terraform", "tofu"] | None = None
    ignores_errored: bool = False
    reports: tuple[str, ...] = ()
    report_limit: str | None = None
    expect: str | None = None
    key_flags: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = field(default=())

    @property
    def flags(self) -> dict[KeyPath, tuple[str, str]]:
        """The keys of tfguard.yml that were given as options, each with its value and the option's name."""
        return {KEY_FLAGS[name][0]: (value, name) for name, value in self.key_flags}

    @property
    def again(self) -> str:
        """How to call tfguard again about the same thing: for the commands that messages recommend."""
        words = ["tfguard"]
        if self.config:
            words += ["--config", self.config]
        if self.pipeline:
            words += ["-p", self.pipeline]
        elif self.chdir:
            words += [f"-chdir={self.chdir}"]
        return shlex.join(words)


def parse(argv: Sequence[str]) -> Options:
    """
    Take our options off the front of the command line.

    Raises:
        UsageError: One of ours has no value or one too many, is given twice, or is misspelt.
    """
    found: dict[str, Any] = {}
    keyed: dict[str, str] = {}
    switches: dict[str, Any] = {}
    reports: list[str] = []
    rest, is_raw = list(argv), False
    while rest and rest[0].startswith("-"):
        name, equals, value = rest[0].partition("=")
        if name == "--":
            is_raw = True
            rest.pop(0)
            break
        if name in SWITCHES:
            if equals:
                raise UsageError(f"{name} takes no value.\nFor example: tfguard {name} apply")
            field_name, setting = SWITCHES[name]
            switches[field_name] = setting
            rest.pop(0)
        elif name in VALUED and not (name == "-chdir" and not equals):
            rest.pop(0)
            _set(found, VALUED[name], name, value if equals else _next(rest, name))
        elif name in KEY_FLAGS:
            rest.pop(0)
            _set(keyed, name, name, value if equals else _next(rest, name))
        elif name == REPORT:
            rest.pop(0)
            reports.append(_given(name, value if equals else _next(rest, name)))
        else:
            _check_spelling(name)
            break
    found |= {**switches, "reports": tuple(reports), "key_flags": tuple(keyed.items())}
    return Options(**found, is_raw=is_raw, command=tuple(rest))


def hoisted(argv: Sequence[str], *, own: Container[str], ends_with: Mapping[str, Collection[str]]) -> list[str]:
    """
    Return the command line with our options before the command, where they stand behind one of our own.

    `ends_with`: the commands after whose options a stranger's words follow, with those of their options that take a
    value: in front of those words only.

    Raises:
        UsageError: As `parse` does.
    """
    found = parse(argv)
    command = found.command
    if found.is_raw or not command or command[0] not in own:
        return list(argv)
    before, rest = list(argv[: len(argv) - len(command)]), list(command[1:])
    moved: list[str] = []
    kept = [command[0]]
    takes_value = ends_with.get(command[0])
    while rest and rest[0] != "--" and (takes_value is None or rest[0].startswith("-")):
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        is_ours = name in SWITCHES or (name in TAKING_VALUES and not (name == "-chdir" and not equals))
        into = moved if is_ours else kept
        into.append(word)
        if is_ours and not equals and not rest and name in TAKING_VALUES:
            raise _needs_value(name)  # In front of the command, the command would be its value.
        if not equals and rest and (name in TAKING_VALUES if is_ours else name in (takes_value or ())):
            into.append(rest.pop(0))
    return [*before, *moved, *kept, *rest]


def _check_spelling(name: str) -> None:
    """What is unknown is Terraform's, now or later; but it could not explain a slip in one of ours."""
    import difflib

    if not name.startswith("--") or name in ("--help", "--version"):
        return
    likely = difflib.get_close_matches(name, [*TAKING_VALUES, *SWITCHES], n=1, cutoff=_ALIKE)
    if likely:
        example = _EXAMPLES.get(likely[0], likely[0])
        raise UsageError(
            f"there is no option {printable(name, 40)}; did you mean {likely[0]}?\nFor example: tfguard {example} apply"
        )


def _next(rest: list[str], name: str) -> str:
    # An option in the place of a value: the value was forgotten. One that does start with a dash goes after `=`.
    if not rest or rest[0].startswith("-"):
        raise _needs_value(name)
    return rest.pop(0)


def _set(found: dict[str, str], field_name: str, name: str, value: str) -> None:
    value = _given(name, value)
    if found.setdefault(field_name, value) != value:
        first, second = printable(found[field_name], 40), printable(value, 40)
        raise UsageError(f"{name} is given twice, as {first} and as {second}.\nGive it once.")


def _given(name: str, value: str) -> str:
    if not value:
        raise _needs_value(name)
    return value


def _needs_value(name: str) -> UsageError:
    return UsageError(f"{name} needs a value.\nFor example: tfguard {_EXAMPLES[name]} apply")


def help_of_key_flags() -> str:
    """Return the lines of `--help` for the options of keys."""
    return "\n".join(f"  {flag.name + ' ' + flag.metavar:<24} {flag.help}" for _, flag in KEY_FLAGS.values())
