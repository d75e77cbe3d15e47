"""The table of ours, where several come for a lock before there is one."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import psycopg
import pytest

from tests.conftest import Postgres
from tests.contract.kinds import PgKind
from tests.support.eventually import eventually
from tfguard.backends import open_store
from tfguard.backends.pg.answers import Missing, Present
from tfguard.backends.pg.columns import COLUMNS

pytestmark = pytest.mark.emulator


def test_a_table_that_another_makes_while_we_look_for_it_is_looked_at(postgres: Postgres) -> None:
    kind = PgKind(postgres, is_terraforms=True)
    with contextlib.closing(kind):
        store: Any = kind.open()
        another: Any = kind.open()
        ask = store._client.ask

        def asked(statement: str, *facts: Any, **named: Any) -> Any:
            if statement.startswith("SELECT to_regclass"):
                another._make_table()
            return ask(statement, *facts, **named)

        another._has_table = False
        store._client.ask = asked

        assert store.read() is None


def test_a_schema_without_states_is_said_to_be_none(postgres: Postgres) -> None:
    kind = PgKind(postgres, is_terraforms=True)
    postgres.ask(kind.database, "DROP TABLE tf.states")
    with contextlib.closing(kind):
        store: Any = kind.open()

        with pytest.raises(Missing):
            store.read()
        store._make_table()
        store._has_table = True
        with pytest.raises(Missing):
            store.read()


@pytest.mark.parametrize("statement", ["CREATE SCHEMA app", f"CREATE TABLE app.tfguard {COLUMNS}"])
def test_what_another_makes_at_the_same_moment_is_found(postgres: Postgres, statement: str) -> None:
    """Its transaction ends while we wait for it: we are told of a duplicate then, `IF NOT EXISTS` or not."""
    with contextlib.closing(PgKind(postgres, is_terraforms=False)) as kind:
        if "TABLE" in statement:
            postgres.ask(kind.database, "CREATE SCHEMA app")
        store = opened(kind)
        store._has_table = False
        host, _, port = postgres.address.partition(":")
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE%%'"
        with psycopg.connect(host=host, port=port, user="postgres", dbname=kind.database) as another:
            another.execute(statement)
            with ThreadPoolExecutor(1) as pool:
                made = pool.submit(store._make_table)
                eventually(lambda: postgres.ask(kind.database, waiting), 30, "our statement to wait for the other's")
                another.commit()
                made.result()

        assert store.read() is None


def test_a_type_that_has_our_tables_name_is_said_to_be_in_the_way(postgres: Postgres) -> None:
    with contextlib.closing(PgKind(postgres, is_terraforms=False)) as kind:
        postgres.ask(kind.database, "CREATE SCHEMA app")
        postgres.ask(kind.database, "CREATE TYPE app.tfguard AS ENUM ()")
        store = opened(kind)
        store._has_table = False

        with pytest.raises(Present, match="choose another schema"):
            store._make_table()


def opened(kind: PgKind) -> Any:
    store = open_store(msgspec.structs.replace(kind.spec, schema="app"))
    kind.opened.append(store)
    return store
