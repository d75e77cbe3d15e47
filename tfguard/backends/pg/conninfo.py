"""
What lib/pq, the library that Terraform reaches PostgreSQL by, makes of `conn_str` and of the environment.

It is not libpq, which we reach it by: without a word about TLS it demands it, it knows other words, and what it does
not know it sends as settings of the session. So its text is read here by its rules, and libpq is told the result.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from tfguard.backends.pg.spec import PgAccess
from tfguard.errors import ConfigError
from tfguard.text import printable

#: The variables that lib/pq reads, by the words of `conn_str` that go before them.
_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "datestyle": "PGDATESTYLE",
    "timezone": "PGTZ",
    "geqo": "PGGEQO",
}
#: Those that it knows from libpq and does not heed: Terraform breaks off.
_REFUSED_VARIABLES = (
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGREALM",
    "PGREQUIRESSL",
    "PGSSLCRL",
    "PGREQUIREPEER",
    "PGSYSCONFDIR",
    "PGLOCALEDIR",
)
#: Its words that are no settings of a session.
_OURS = {"host", "port", "dbname", "user", "password", "passfile", "options"}
_OURS |= {"sslmode", "sslcert", "sslkey", "sslrootcert"}
#: Words of lib/pq's own, and those that we set ourselves: nothing of them concerns the lock.
_DROPPED = {"connect_timeout", "binary_parameters", "disable_prepared_binary_result", "sslsni", "application_name"}
_DROPPED |= {"fallback_application_name", "client_encoding", "krbsrvname", "krbspn", "extra_float_digits", "datestyle"}
_MODES = ("disable", "require", "verify-ca", "verify-full")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$.]*")


def access_of(conn_str: str, environ: Mapping[str, str], directory: Path, source: str) -> PgAccess:
    """
    Say how PostgreSQL is reached.

    Raises:
        ConfigError: lib/pq would not take it; nothing of the text is in the message.
    """
    for variable in _REFUSED_VARIABLES:
        if environ.get(variable):
            raise ConfigError(f"{variable} is set, which Terraform's pg backend does not support.\nUnset it.")
    words = {word: environ[name] for word, name in _VARIABLES.items() if environ.get(name)}
    words |= _words(conn_str, source)
    mode = words.get("sslmode") or "require"
    if mode not in _MODES:
        raise _wrong(source, f"Terraform knows no sslmode {printable(mode, 20)!r}", f"Use one of {', '.join(_MODES)}.")
    if words.get("sslinline") in {"true", "1"}:
        raise _wrong(source, "tfguard does not take certificates within conn_str", "Name files; drop sslinline.")
    host = words.get("host") or "localhost"
    if "," in host:
        raise _wrong(source, "Terraform's pg backend knows no list of hosts", "Name one.")

    def file(word: str) -> str:
        return os.path.join(directory, words[word]) if words.get(word) else ""

    rest = {word: value for word, value in words.items() if word not in _OURS | _DROPPED | {"sslinline"}}
    if not all(_SETTING.fullmatch(word) for word in rest):
        raise _wrong(source, "a word in it is no setting of PostgreSQL's", "Correct conn_str, or PG_CONN_STR.")
    return PgAccess(
        host=host,
        port=words.get("port") or "5432",
        user=words.get("user") or getpass.getuser(),
        password=words.get("password", ""),
        database=words.get("dbname", ""),
        sslmode="disable" if host.startswith("/") else mode,
        sslcert=file("sslcert"),
        sslkey=file("sslkey"),
        sslrootcert=file("sslrootcert"),
        passfile=file("passfile"),
        options=words.get("options", ""),
        settings=rest,
    )


def _words(conn_str: str, source: str) -> dict[str, str]:
    if conn_str.startswith(("postgres://", "postgresql://")):
        return _of_url(conn_str, source)
    return _of_pairs(conn_str, source)


def _of_url(url: str, source: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
        host = parts.hostname or ""
    except ValueError:
        raise _wrong(source, "its URL cannot be read", "Correct conn_str, or PG_CONN_STR.") from None
    if "," in parts.netloc.rpartition("@")[2]:
        host = parts.netloc.rpartition("@")[2]
    named = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": unquote(host),
        "port": port,
        "dbname": unquote(parts.path.lstrip("/")),
    }
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    return {word: value for word, value in named.items() if value} | asked


def _of_pairs(text: str, source: str) -> dict[str, str]:
    """Read `key=value key='a value' …`, in which a backslash takes the next letter as it is."""
    words: dict[str, str] = {}
    at = _after_space(text, 0)
    while at < len(text):
        sign = text.find("=", at)
        key = text[at:sign].strip() if sign > 0 else ""
        if not key or any(letter.isspace() for letter in key):
            raise _wrong(source, "a word in it has no value", "Write key=value, with spaces between.")
        value, at = _value(text, _after_space(text, sign + 1), source)
        words[key] = value
        at = _after_space(text, at)
    return words


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _value(text: str, at: int, source: str) -> tuple[str, int]:
    quoted = text[at : at + 1] == "'"
    at += quoted
    value: list[str] = []
    while at < len(text):
        letter = text[at]
        if letter == "'" if quoted else letter.isspace():
            return "".join(value), at + quoted
        if letter == "\\" and at + 1 < len(text):
            at += 1
            letter = text[at]
        value.append(letter)
        at += 1
    if quoted:
        raise _wrong(source, "a quote in it is not closed", "Close it.")
    return "".join(value), at


def _wrong(source: str, what: str, advice: str) -> ConfigError:
    return ConfigError(f"{source}: conn_str cannot be used: {what}.\n{advice}")
