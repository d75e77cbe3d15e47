"""libpq alone is loaded, and whoever wants the rest of psycopg has it as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.eventually import patience
from tfguard.backends.pg.libpq import conninfo, libpq

LOADS = """
import sys
from tfguard.backends.pg.libpq import libpq
pq = libpq()
assert pq is libpq()
print(*sorted({"psycopg.pq", "psycopg.conninfo", "psycopg.connection", "psycopg.types"} & {*sys.modules}))
import psycopg
assert psycopg.pq is pq is libpq()
assert issubclass(psycopg.errors.UndefinedTable, psycopg.Error)
try:
    psycopg.connect("host=127.0.0.1 port=1 connect_timeout=2")
except psycopg.OperationalError as error:
    print(type(error).__name__)
"""


def test_nothing_else_of_psycopg_is_loaded_and_all_of_it_can_be() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, timeout=patience(60))

    assert (done.stdout.splitlines(), done.stderr) == (["psycopg.pq", "OperationalError"], "")


@pytest.mark.parametrize("value", ["", "plain", "with 'quotes' and \\", "\\'", " spaced ", "a=b host='x'", 'ä\n\t"$'])
def test_a_parameter_is_read_as_it_was_given(value: str) -> None:
    parsed = libpq().Conninfo.parse(conninfo({"password": value, "host": "h"}))

    assert {it.keyword: it.val for it in parsed if it.val is not None} == {b"password": value.encode(), b"host": b"h"}
