"""
Terraform's lock in PostgreSQL: an advisory lock of the session `tfguard <lock ID>`, and a row of our own table.

The number of the lock is the ID of the workspace's row among Terraform's states; while there is none, -1, which keeps
everybody in the database from locking anything, and is given back once the row is there. Both are tried as Terraform
tries them.

    create    claim the row, if it is free · open a carrier, take the advisory lock; else give the row back
    beat      the row is still as it was seen, and a session of our name holds an advisory lock · write the beat
    takeover  claim the row, if it is as it was seen, and end the dead one's session · then as after a claim
    release   empty the row, if it is still ours, and end our session

A line up to the dot is one statement. Among us the row decides: a claim without the advisory lock keeps us out until
its lease has expired. So a carrier that ended while its row stands is taken again by its owner, as it beats or looks.

Who holds a lock without a row of ours is a plain Terraform, of which there is nothing to show but its session.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.pg.answers import Missing
from tfguard.backends.pg.carrier import END_SECONDS, NAME, Carrier
from tfguard.backends.pg.client import Row
from tfguard.backends.pg.table import NO_LEASE, PgTable
from tfguard.errors import Conflict, StoreMisconfigured, StoreUnavailable
from tfguard.lock import lockinfo
from tfguard.lock.store import BaseStore, Lease, LockRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.pg.spec import PgSpec

#: How long the server keeps a session of which it hears nothing, where no lease says so.
_UNLEASED_SECONDS = 3600.0
#: A session's advisory locks of one number, as Terraform's are.
_LOCKS = (
    "pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_NUMBER = "((l.classid::bigint << 32) | l.objid::bigint)"


class PgStore(PgTable, BaseStore):
    """A lock in PostgreSQL. `descriptor` is the socket of a carrier that a predecessor has left to us."""

    has_leases = True

    def __init__(self, spec: PgSpec, descriptor: int = -1) -> None:
        super().__init__(spec)
        self._carrier = Carrier(spec, self._states, self.place, descriptor)
        self._text: str | None = None
        self._seconds = 0.0  # how long the lease lasts that was written last
        self._date: datetime | None = None
        self._beaten: tuple[int, str | None] | None = None  # over which carrier, and which version of the state, so far
        self.has_state_changed = False

    @property
    def date(self) -> datetime | None:
        return self._date

    def fileno(self) -> int:
        return self._carrier.fileno()

    def close(self) -> None:
        self._carrier.drop()
        self._client.close()

    # --- the lock -----------------------------------------------------------------------------------------------

    def read(self) -> LockRecord | None:
        for _ in range(2):
            record, text, is_carried, is_anothers = self._look()
            is_ours = text is not None and text == self._text
            if not is_ours and self._text is not None and self._carrier.is_open:
                # Somebody claimed the row while we took the lock again: it would keep everybody out, for nothing.
                self._carrier.drop()
                continue
            if not self._spec.is_terraforms or not is_ours or is_anothers:
                return record
            if is_carried and self._carrier.is_open and not self._carrier.has_ended:
                return record
            # The connection ended, or the answer to our claim was lost. A session that is still there in the server
            # ends when that finds out: it carries nothing for long.
            with contextlib.suppress(Conflict):
                self._take_again(_id_of(text or ""), is_carried=is_carried)
        raise StoreUnavailable(f"{self.place} keeps changing while we look.")

    def create(self, record: LockRecord) -> LockRecord:
        self._remember(record)
        statement = (
            f"INSERT INTO {self._table} AS t (name, lock, beat, lease) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (name) DO UPDATE SET lock = EXCLUDED.lock, beat = EXCLUDED.beat, lease = EXCLUDED.lease"
            " WHERE t.lock IS NULL RETURNING 1"
        )
        self._make_table()
        if not self._ask(statement, [self._spec.name, record.text, *_lease_of(record)]):
            raise Conflict(self.place)
        return self._claimed(record)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        if seen.text == record.text:
            return self._beat(seen, record)
        self._remember(record)
        claimed = self._ask(
            f"WITH claimed AS (UPDATE {self._table} SET lock = $3, beat = $4, lease = $5"
            " WHERE name = $1 AND lock = $2 AND beat = $6 RETURNING 1)"
            f" SELECT (SELECT count(*) FROM claimed), {self._ended('$7', 'claimed')}",
            [self._spec.name, seen.text, record.text, *_lease_of(record), _beat_of(seen), NAME + seen.id],
            about="pg_terminate_backend",
        )
        if claimed[0][0] == "0":
            raise Conflict(self.place)
        return self._claimed(record, is_ending=claimed[0][1] != "0")

    def delete(self, seen: LockRecord) -> None:
        if seen.version:
            self._end_stranger(seen)
            return
        self._carrier.is_leaving = True
        try:
            emptied = self._empty(seen)
        except BaseException:
            self._carrier.is_leaving = False
            raise
        self._carrier.drop()
        if emptied[0][0] == "0":
            raise Conflict(self.place)
        self._await_end(NAME + seen.id)

    def _empty(self, seen: LockRecord) -> list[Row]:
        """Empty the row if it is still as it was seen, and end the session of its name."""
        return self._ask(
            f"WITH emptied AS (UPDATE {self._table} SET lock = NULL, beat = {NO_LEASE}, lease = NULL"
            " WHERE name = $1 AND lock = $2 RETURNING 1)"
            f" SELECT (SELECT count(*) FROM emptied), {self._ended('$3', 'emptied')}",
            [self._spec.name, seen.text, NAME + seen.id],
            about="pg_terminate_backend",
        )

    def _beat(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        self._remember(record)
        is_carried, version = "", "NULL"
        values = [self._spec.name, seen.text, _beat_of(seen), *_lease_of(record)]
        if self._spec.is_terraforms:
            is_carried = f" AND EXISTS (SELECT FROM {_LOCKS} AND a.application_name = $6)"
            version = f"(SELECT xmin::text FROM {self._states} WHERE name = $1)"
            values.append(NAME + seen.id)
        statement = (
            f"UPDATE {self._table} SET beat = $4, lease = $5 WHERE name = $1 AND lock = $2 AND beat = $3"
            f"{is_carried} RETURNING {version}"
        )
        if self._carrier.has_ended or not (written := self._ask(statement, values)):
            self.read()  # If only the connection has ended, that takes the lock again.
            if self._carrier.has_ended or not (written := self._ask(statement, values)):
                raise Conflict(self.place)
        self._compare(written[0][0])
        self._carrier.give_back_creation(self._client, self._seconds)
        return msgspec.structs.replace(record, version="")

    def _compare(self, version: str | None) -> None:
        """A beat has landed, and this was the state's version then: who writes it gives it another."""
        before, self._beaten = self._beaten, (self._carrier.count, version)
        self.has_state_changed = before is not None and before[0] != self._carrier.count and before[1] != version

    def _remember(self, record: LockRecord) -> None:
        self._text = record.text
        self._seconds = record.lease.seconds if record.lease is not None else _UNLEASED_SECONDS

    def _claimed(self, record: LockRecord, *, is_ending: bool = False) -> LockRecord:
        """Take Terraform's lock as well, or give the row back."""
        if self._spec.is_terraforms:
            try:
                self._carrier.take(record.id, self._seconds, is_ending=is_ending)
            except (Conflict, StoreMisconfigured):
                self._ask(
                    f"UPDATE {self._table} SET lock = NULL, beat = {NO_LEASE}, lease = NULL"
                    " WHERE name = $1 AND lock = $2",
                    [self._spec.name, record.text],
                )
                self._text = None
                raise
        return msgspec.structs.replace(record, version="")

    # --- the connection that carries it -------------------------------------------------------------------------

    @property
    def carriers(self) -> int:
        return self._carrier.count

    def on_end(self, tell: Callable[[], None]) -> None:
        self._carrier.on_end(tell)

    def _take_again(self, lock_id: str, *, is_carried: bool) -> None:
        """
        Take Terraform's lock once more, for a row that is ours: first of all, say that it is not ours.

        `is_carried`: a session of our name has it, which nobody has at our end any more; it is ended.
        """
        self._carrier.end()
        if is_carried:
            self._ask(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
                " AND datname = current_database()",
                [NAME + lock_id],
                about="pg_terminate_backend",
            )
        self._carrier.take(lock_id, self._seconds, is_ending=is_carried)

    def _ended(self, name: str, condition: str) -> str:
        """An expression that ends the sessions of a name if `condition` has rows, and counts them."""
        if not self._spec.is_terraforms:
            return f"{name}::text IS NULL"
        return (
            "(SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE application_name = {name} AND datname = current_database() AND EXISTS (SELECT FROM {condition}))"
        )

    def _await_end(self, name: str) -> None:
        """Wait until a session that was told to end has let its lock go, for a while."""
        until = time.monotonic() + END_SECONDS
        while self._spec.is_terraforms and time.monotonic() < until:
            if not self._ask(f"SELECT 1 FROM {_LOCKS} AND a.application_name = $1", [name]):
                return
            time.sleep(0.01)

    def _end_stranger(self, seen: LockRecord) -> None:
        ended = self._ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1::int AND"
            " coalesce(extract(epoch FROM backend_start)::text, '') = $2",
            seen.version.split(" ", 1),
            about="pg_terminate_backend",
        )
        if not ended:
            raise Conflict(self.place)
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until and self._ask(
            "SELECT 1 FROM pg_stat_activity WHERE pid = $1::int", [seen.version.split(" ")[0]]
        ):
            time.sleep(0.01)

    # --- looking ------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[LockRecord | None, str | None, bool, bool]:
        """Return the record, our row's text, whether its own session carries it, and whether another holds the lock."""
        row, sessions = self._row_and_sessions()
        text = row[0] if row else None
        name = NAME + _id_of(text) if text is not None else None
        is_carried = any(session[1] == name for session in sessions)
        others = [session for session in sessions if session[1] != name]
        if is_carried or not others:
            return (_record(row) if row and text is not None else None), text, is_carried, False
        return _stranger(others[0]), text, False, True

    def _row_and_sessions(self, *, is_second: bool = False) -> tuple[Row | None, list[Row]]:
        sessions = ""
        if self._spec.is_terraforms:
            sessions = (
                " LEFT JOIN LATERAL (SELECT a.pid, a.application_name, a.usename, a.client_addr,"
                f" extract(epoch FROM a.backend_start)::text AS since FROM {_LOCKS} AND {_NUMBER} IN (-1, n.number)) h"
                " ON true"
            )
        number = f"(SELECT id FROM {self._states} WHERE name = $1)" if self._spec.is_terraforms else "NULL::bigint"
        seen = "h.pid, h.application_name, h.usename, h.client_addr, h.since" if sessions else "NULL"
        row = f"LEFT JOIN {self._table} r ON r.name = $1 AND r.lock IS NOT NULL"
        fields = "r.lock, r.beat, r.lease"
        if not self._has_table:
            row, fields = "", "NULL, NULL, NULL"
        try:
            found = self._ask(
                f"SELECT extract(epoch FROM clock_timestamp()), {fields}, {seen}"
                f" FROM (SELECT coalesce({number}, -1) AS number, $1::text AS name) n {row}{sessions}",
                [self._spec.name],
            )
        except Missing:
            if not self._has_table:
                if self._spec.is_terraforms:
                    raise
                return None, []
            self._has_table = self._ask("SELECT to_regclass($1)", [self._table])[0][0] is not None
            if self._has_table and is_second:
                raise  # It is another table that is missing: ours may have been made in between only once.
            return self._row_and_sessions(is_second=True)
        self._date = datetime.fromtimestamp(float(found[0][0] or 0), timezone.utc)
        first = found[0][1:4]
        return (first if first[0] is not None else None), [line[4:] for line in found if line[4] is not None]

    def has_workspace(self) -> bool:
        """Whether Terraform has a row for the workspace."""
        return self._spec.name == "default" or self._carrier.number(self._client) is not None

    def is_pooled(self) -> bool:
        """Whether a pooler answers for the server."""
        return self._client.is_pooled()


def _id_of(text: str | None) -> str:
    info = lockinfo.decode(text or "")
    return info.id if info else ""


def _lease_of(record: LockRecord) -> tuple[str, str | None]:
    """What the columns `beat` and `lease` hold."""
    return _beat_of(record), publish(record.lease).decode() if record.lease is not None else None


def _beat_of(record: LockRecord) -> str:
    return str(record.beat) if record.lease is not None else NO_LEASE


def _record(row: Row) -> LockRecord:
    text, beat, ours = row[0] or "", row[1], row[2]
    lease: Lease | None = None
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        lease = parse(ours or "", Lease)
    if lease is not None and str(lease.beat) != beat:
        lease = None  # Somebody has been at it by hand.
    return LockRecord(text=text, info=lockinfo.decode(text), lease=lease)


def _stranger(session: Row) -> LockRecord:
    """What there is to show of a plain Terraform: its session."""
    pid, name, role, address, since = (field or "" for field in session)
    started = datetime.fromtimestamp(float(since), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if since else ""
    info = lockinfo.LockInfo(
        id=f"pid-{pid}",
        who=f"{role}@{address or 'the server itself'}" if since else f"role {role}",
        info=name,
        created=started,
    )
    text = info.encode()
    return LockRecord(text=text, info=lockinfo.decode(text), version=f"{pid} {since}")
