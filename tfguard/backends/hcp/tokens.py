"""
The token for a host, where Terraform finds it: hashicorp's page "CLI Configuration", section "Credentials".

    1. `token` of the backend
    2. TF_TOKEN_<host>, with `_` for each dot and `__` for each hyphen
    3. `credentials "<host>" { token = … }` of its configuration file, or credentials.tfrc.json in ~/.terraform.d
    4. what the program `terraform-credentials-<name>` says, if `credentials_helper "<name>"` names one
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tfguard import hcl, programs
from tfguard.errors import StoreDenied, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

_MAX_BYTES = 1024 * 1024
_HELPER_SECONDS = 20.0


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
    named = "TF_TOKEN_" + host.replace("-", "__").replace(".", "_")
    if found := next(_found(host, given, named, environ), None):
        return found
    raise StoreDenied(
        f"There is no token for {printable(host, 60)}.",
        f"Run: terraform login {printable(host, 60)}   Or set {printable(named, 80)}.",
        action="",
        resource=host,
    )


def _found(host: str, given: str, named: str, environ: Mapping[str, str]) -> Iterator[Token]:
    """Give what there is, in Terraform's order; a helper is asked last."""
    if given:
        yield Token(given, "`token` of the backend")
    if text := environ.get(named, ""):
        yield Token(text, printable(named, 80))
    for path in _files(environ):
        if text := _token_in(path, host):
            yield Token(text, printable(str(path), 120))
    for path in _files(environ):
        if found := _helped(path, host, environ):
            yield found


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or "/")
    named = environ.get("TF_CLI_CONFIG_FILE") or environ.get("TERRAFORM_CONFIG")
    yield Path(named) if named else home / ".terraformrc"
    yield home / ".terraform.d" / "credentials.tfrc.json"


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode()
    except (OSError, UnicodeError):
        return ""


def _token_in(path: Path, host: str) -> str:
    text = _read(path)
    if path.name.endswith(".json"):
        try:
            found: Any = msgspec.json.decode(text)["credentials"][host]["token"]
        except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
            return ""
        return found if isinstance(found, str) else ""
    words = [word for _, word in hcl.tokens(text)]
    for at in range(len(words) - 2):
        if words[at : at + 3] == ["credentials", f'"{host}"', "{"]:
            block = words[at + 3 : words.index("}", at)] if "}" in words[at:] else []
            for name, sign, value in zip(block, block[1:], block[2:]):
                if (name, sign, value[:1]) == ("token", "=", '"'):
                    return value.strip('"')
    return ""


def _helped(path: Path, host: str, environ: Mapping[str, str]) -> Token | None:
    words = [word for _, word in hcl.tokens(_read(path))] if not path.name.endswith(".json") else []
    if "credentials_helper" not in words:
        return None
    name = "".join(words[words.index("credentials_helper") + 1 :][:1]).strip('"')
    folder = Path(environ.get("HOME") or "/") / ".terraform.d" / "plugins"
    program = folder / f"terraform-credentials-{name}"
    if "/" in name or not program.is_file():
        return None
    about = printable(program.name, 80)
    try:
        said = programs.ask([program, "get", host], environ, _HELPER_SECONDS)
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
