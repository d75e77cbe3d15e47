"""The table of ours, where several come for a lock before there is one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.conftest import Postgres
from tests.contract.kinds import PgKind
from tfguard.backends.pg.answers import Missing

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
