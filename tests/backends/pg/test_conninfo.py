"""`conn_str` and the environment, as lib/pq reads them: what libpq would read otherwise."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from tfguard.backends.pg.conninfo import access_of
from tfguard.backends.pg.spec import PgAccess
from tfguard.errors import ConfigError

ME = getpass.getuser()


def read(conn_str: str, **environ: str) -> PgAccess:
    return access_of(conn_str, environ, Path("/work"), "the pg backend")


READ = {
    "nothing at all: TLS, over TCP": ("", {}, PgAccess(host="localhost", user=ME)),
    "a URL": (
        "postgres://ana:p%40ss@db.example.com:6000/ops",
        {},
        PgAccess(host="db.example.com", port="6000", user="ana", password="p@ss", database="ops"),
    ),
    "its other name, and a mode": (
        "postgresql://db/ops?sslmode=verify-full&sslrootcert=ca.pem",
        {},
        PgAccess(host="db", user=ME, database="ops", sslmode="verify-full", sslrootcert="/work/ca.pem"),
    ),
    "an IPv6 address": ("postgres://ana@[::1]:5433/x", {}, PgAccess(host="::1", port="5433", user="ana", database="x")),
    "pairs, with quotes and backslashes": (
        r"host=db user='ana b' password='it\'s \\' dbname = ops",
        {},
        PgAccess(host="db", user="ana b", password="it's \\", database="ops"),
    ),
    "variables, where nothing else is said": (
        "dbname=ops",
        {"PGHOST": "h", "PGPORT": "1", "PGDATABASE": "d", "PGUSER": "u", "PGPASSWORD": "p", "PGSSLMODE": "disable"},
        PgAccess(host="h", port="1", user="u", password="p", database="ops", sslmode="disable"),
    ),
    "settings of the session": (
        "postgres://ana@db/x?statement_timeout=5000&connect_timeout=9&application_name=x",
        {},
        PgAccess(host="db", user="ana", database="x", settings={"statement_timeout": "5000"}),
    ),
    "a Unix socket: no TLS there": (
        "host=/run/postgresql user=ana",
        {},
        PgAccess(host="/run/postgresql", user="ana", sslmode="disable"),
    ),
}


@pytest.mark.parametrize(("text", "environ", "expected"), READ.values(), ids=READ)
def test_is_read_as_terraform_reads_it(text: str, environ: dict[str, str], expected: PgAccess) -> None:
    assert read(text, **environ) == expected


REFUSED = {
    "a mode of libpq's": ("sslmode=prefer password=hunter2", {}, "sslmode 'prefer'"),
    "a service": ("", {"PGSERVICE": "x"}, "PGSERVICE is set"),
    "an address of libpq's": ("", {"PGHOSTADDR": "x"}, "PGHOSTADDR is set"),
    "several hosts": ("postgres://ana:hunter2@a:1,b:2/x", {}, "conn_str cannot be used"),
    "several hosts as pairs": ("host=a,b password=hunter2", {}, "no list of hosts"),
    "certificates within": ("sslinline=true password=hunter2", {}, "sslinline"),
    "a word without a value": ("host=db hunter2", {}, "no value"),
    "an open quote": ("password='hunter2", {}, "a quote in it is not closed"),
    "a port that is none": ("postgres://ana:hunter2@db:x/y", {}, "its URL cannot be read"),
    "no name of a setting": ("postgres://ana:hunter2@db/x?a%20b=c", {}, "no setting"),
}


@pytest.mark.parametrize(("text", "environ", "says"), REFUSED.values(), ids=REFUSED)
def test_what_terraform_would_not_take_is_said_without_a_secret(text: str, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)

    assert says in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2
    assert "hunter2" not in str(raised.value)


def test_a_bare_access_and_its_text_hold_no_secret() -> None:
    access = read("postgres://ana:hunter2@db/x?search_path=secret")

    assert "hunter2" not in f"{access!r}{access.bare()}"
    assert access.bare().settings == {}
    assert access.secrets() == ["hunter2"]
