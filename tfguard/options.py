"""
tfguard's own options: those that stand before the command.

The command itself, and everything after it, is Terraform's or one of our own commands'. Whatever we do not know here
belongs to Terraform: `tfguard -version` and `tfguard -help` are answered by Terraform itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tfguard.errors import UsageError

#: Option → the field it sets. All take a value, as `--x value` or `--x=value`.
_VALUED = {
    "--config": "config",
    "-p": "pipeline",
    "--pipeline": "pipeline",
    "--chdir": "chdir",
    "-chdir": "chdir",
    "--lock-timeout": "lock_timeout",
    "--log-format": "log_format",
    "--terraform": "terraform",
}
_SWITCHES = {"--verbose": 1, "--quiet": -1}


@dataclass(frozen=True)
class Options:
    """What was said before the command; `command` is what follows. `is_raw`: `--` stood there, so it is Terraform's."""

    config: str | None = None
    pipeline: str | None = None
    chdir: str | None = None
    lock_timeout: str | None = None
    log_format: str | None = None
    terraform: str | None = None
    verbosity: int = 0
    is_raw: bool = False
    command: tuple[str, ...] = field(default=())

    @property
    def again(self) -> str:
        """How to call tfguard again about the same thing: for the commands that messages recommend."""
        if self.pipeline:
            return f"tfguard -p {self.pipeline}"
        return f"tfguard -chdir={self.chdir}" if self.chdir else "tfguard"


def parse(argv: Sequence[str]) -> Options:
    """
    Take our options off the front of the command line.

    Raises:
        UsageError: One of ours has no value, or is given twice with different values.
    """
    found: dict[str, str] = {}
    verbosity = 0
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest[0].partition("=")
        if name == "--":
            return Options(**found, verbosity=verbosity, is_raw=True, command=tuple(rest[1:]))  # type: ignore[arg-type]
        if name in _SWITCHES and not equals:
            verbosity = _SWITCHES[name]
            rest.pop(0)
        elif name in _VALUED and not (name == "-chdir" and not equals):
            rest.pop(0)
            _set(found, name, value if equals else _next(rest, name))
        else:
            break
    return Options(**found, verbosity=verbosity, command=tuple(rest))  # type: ignore[arg-type]


def _next(rest: list[str], name: str) -> str:
    if not rest:
        raise UsageError(f"{name} needs a value.\nFor example: tfguard {name} VALUE apply")
    return rest.pop(0)


def _set(found: dict[str, str], name: str, value: str) -> None:
    key = _VALUED[name]
    if not value:
        raise UsageError(f"{name} needs a value.\nFor example: tfguard {name} VALUE apply")
    if found.setdefault(key, value) != value:
        raise UsageError(f"{name} is given twice, as {found[key]} and as {value}.\nGive it once.")
