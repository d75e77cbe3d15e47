"""
The table `tfguard` in a schema: for each name a row with its lock's record, its line, its history.

The names of schema and table are the only thing in a statement that is not a parameter, and are quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.pg.answers import Missing, Present
from tfguard.backends.pg.client import Connection, Row
from tfguard.backends.pg.columns import COLUMNS
from tfguard.errors import Conflict
from tfguard.lock import queue_record
from tfguard.lock.store import QueueRecord

if TYPE_CHECKING:
    from tfguard.backends.pg.spec import PgSpec

#: So often a table is made before we believe that what is there is no table.
_MAKE_TIMES = 5
#: What `beat` is where there is no lease.
NO_LEASE = "-1"


class PgTable:
    """One row of the table, its queue, and the connection for statements."""

    def __init__(self, spec: PgSpec) -> None:
        self._spec = spec
        self._client = Connection(spec.pg, "tfguard")
        schema = quoted(spec.schema)
        self._table, self._states = f"{schema}.tfguard", f"{schema}.states"
        self._has_table = True

    @property
    def place(self) -> str:
        """Where the row is, for people."""
        return f"PostgreSQL {self._spec.pg.place}, schema {self._spec.schema}, {self._spec.name}"

    def read_queue(self) -> QueueRecord | None:
        try:
            found = self._ask(
                f"SELECT queue FROM {self._table} WHERE name = $1 AND queue IS NOT NULL", [self._spec.name]
            )
        except Missing:
            return None
        return queue_record.decode_record((found[0][0] or "").encode()) if found else None

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        content = queue_record.encode_record(record).decode()
        values = [self._spec.name, content, str(record.revision)]
        if seen is None:
            self._make_table()
            written = self._ask(
                f"INSERT INTO {self._table} AS t (name, queue, revision) VALUES ($1, $2, $3)"
                " ON CONFLICT (name) DO UPDATE SET queue = EXCLUDED.queue, revision = EXCLUDED.revision"
                " WHERE t.queue IS NULL RETURNING 1",
                values,
            )
        else:
            try:
                written = self._ask(
                    f"UPDATE {self._table} SET queue = $2, revision = $3"
                    " WHERE name = $1 AND queue IS NOT NULL AND revision = $4 RETURNING 1",
                    [*values, str(seen.revision)],
                )
            except Missing:
                written = []
        if not written:
            raise Conflict(self.place)
        return msgspec.structs.replace(record, version="")

    def attempts(self) -> dict[str, Callable[[], object]]:
        """Give, for each thing that a lock needs, requests that change nothing: what they ask for never holds."""
        table = self._table
        return {
            f"SELECT on {table}": lambda: self._ask(f"SELECT 1 FROM {table} WHERE false"),
            f"INSERT on {table}": lambda: self._ask(f"INSERT INTO {table} (name) SELECT '' WHERE false"),
            f"UPDATE on {table}": lambda: self._ask(f"UPDATE {table} SET name = name WHERE false"),
        }

    def _make_table(self) -> None:
        """Make our table where there is none. Whoever may not is told which it is."""
        if self._has_table:
            self._has_table = self._ask("SELECT to_regclass($1)", [self._table])[0][0] is not None
        if self._has_table:
            return
        if not self._spec.is_terraforms:
            self._make(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._spec.schema)}")
        self._make(f"CREATE TABLE IF NOT EXISTS {self._table} {COLUMNS}")
        self._has_table = True

    def _make(self, statement: str) -> None:
        for left in reversed(range(_MAKE_TIMES)):
            try:
                self._ask(statement, about=f"CREATE TABLE {self._table}")
                return
            except Present:  # Somebody makes it at this moment: once that is done, IF NOT EXISTS finds it.
                if not left:
                    raise

    def _ask(self, statement: str, values: Sequence[str | None] = (), *, about: str = "") -> list[Row]:
        return self._client.ask(statement, values, about=about or self._table)

    def held_names(self) -> list[str]:
        """The names of the rows that somebody of us holds."""
        try:
            return [
                row[0] or "" for row in self._ask(f"SELECT name FROM {self._table} WHERE lock IS NOT NULL ORDER BY 1")
            ]
        except Missing:
            return []


def quoted(name: str) -> str:
    """Return a name as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'
