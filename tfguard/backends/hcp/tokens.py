"""
The token for a host, where Terraform finds it: hashicorp's page "CLI Configuration", section "Credentials".

    1. `token` of the backend
    2. TF_TOKEN_<host>, with `_` for each dot; a hyphen may be `__`
    3. `credentials "<host>" { token = … }` of its configuration (`cli_config`)
    4. what the program `terraform-credentials-<name>` says, if `credentials_helper "<name>"` names one

What is there and empty is taken as well, and is no token.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from platform import machine
from typing import NamedTuple

import msgspec

from tfguard import files, programs, terraformrc
from tfguard.backends.hcp import cli_config
from tfguard.errors import StoreDenied, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

_HELPER_SECONDS = 20.0
_PREFIX = "TF_TOKEN_"
#: What Terraform calls a machine that Python calls otherwise.
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_VERSION = re.compile(r"(?:_v(\d+(?:\.\d+)*).*)?")


class Token(NamedTuple):
    """A token, and for people where it was found."""

    text: str
    source: str

    def __repr__(self) -> str:
        return f"Token(…, {self.source!r})"


def find_token(host: str, given: str, environ: Mapping[str, str]) -> Token:
    """
    Return the token for a host, and where it was. `given` is the backend's own.

    Raises:
        StoreDenied: There is none; or the program that should know it has failed.

        StoreUnavailable: That program does not answer.
    """
    if given:
        return Token(given, "`token` of the backend")
    host = cli_config.comparable(host)
    found = _in_environment(host, environ) or _in_files(host, environ)
    if found is not None and found.text:
        return found
    named = _PREFIX + host.replace("-", "__").replace(".", "_")
    where = printable(host, 60)
    raise StoreDenied(
        f"The token for {where} is empty ({found.source})." if found else f"There is no token for {where}.",
        f"Run: terraform login {where}   Or set {printable(named, 80)}.",
        action="",
        resource=host,
    )


def _in_environment(host: str, environ: Mapping[str, str]) -> Token | None:
    for name, text in environ.items():
        rest = name.removeprefix(_PREFIX).replace("__", "-").replace("_", ".")
        if name.startswith(_PREFIX) and cli_config.comparable(rest) == host:
            return Token(text, printable(name, 80))
    return None


def _in_files(host: str, environ: Mapping[str, str]) -> Token | None:
    config = cli_config.read(environ)
    if found := config.tokens.get(host):
        text, path = found
        return Token(text, printable(str(path), 120))
    program = _program(config.helper[0], environ) if config.helper else None
    return _helped(program, config.helper[1:], host, environ) if program else None


def _program(name: str, environ: Mapping[str, str]) -> Path | None:
    """Return a helper's program, the newest if there are several versions; None if there is none."""
    plugins = terraformrc.folder(environ) / "plugins"
    found: dict[Path, tuple[int, ...]] = {}
    for folder in (plugins, plugins / f"{sys.platform}_{_MACHINES.get(machine(), machine())}"):
        for path in files.inside(folder, ""):
            program = f"terraform-credentials-{name}"
            version = _VERSION.fullmatch(path.name.removeprefix(program)) if path.name.startswith(program) else None
            if version and path.is_file():
                found[path] = tuple(map(int, (version[1] or "0").split(".")))
    return max(found, key=lambda path: found[path], default=None)


def _helped(program: Path, words: Sequence[str], host: str, environ: Mapping[str, str]) -> Token | None:
    about = printable(program.name, 80)
    try:
        said = programs.ask([program, *words, "get", host], environ, _HELPER_SECONDS)
    except TimeoutError as error:
        raise StoreUnavailable(
            f"The credentials helper {about} took more than {_HELPER_SECONDS:.0f} s.",
            "Run it by hand: it may wait for somebody.",
        ) from error
    except OSError as error:
        raise _useless(about, host, f"cannot be run ({error.strerror})") from error
    if said.status:
        raise _useless(about, host, said.ending(), said.last_words())
    try:
        token = parse(said.output, _Helped).token
    except msgspec.DecodeError:
        raise _useless(about, host, "printed no token in Terraform's form") from None
    return Token(token, f"what {about} says") if token else None


class _Helped(msgspec.Struct, frozen=True):
    """What a helper prints: an empty object where it knows nothing of the host."""

    token: str = ""


def _useless(about: str, host: str, why: str, said: str = "") -> StoreDenied:
    return StoreDenied(
        f"The credentials helper {about} {why}{f': {said}' if said else '.'}",
        f"Run it by hand, with the same environment: {about} get {printable(host, 60)}",
        action="",
        resource=host,
    )
