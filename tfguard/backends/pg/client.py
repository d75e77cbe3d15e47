"""
A connection to PostgreSQL on which nothing takes longer than it may.

libpq is spoken to below psycopg's own connection: that has no limit of time for an answer. A connection on which
something was not answered in time is given up, and the next request makes another.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfguard.backends.net import times
from tfguard.backends.pg.answers import cannot_connect, refusal
from tfguard.backends.pg.libpq import conninfo, libpq
from tfguard.errors import StoreUnavailable
from tfguard.wire import publish

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

    from tfguard.backends.pg.spec import PgAccess

Row = tuple["str | None", ...]


class Connection:
    """
    One session. `name` is its `application_name`; `settings` hold for it where the server knows them.

    `is_one`: once it has ended there is no other in its place. `probes`: libpq's parameters that say when a server that
    is silent is given up.
    """

    def __init__(
        self,
        access: PgAccess,
        name: str,
        settings: dict[str, str] | None = None,
        *,
        is_one: bool = False,
        probes: dict[str, str] | None = None,
    ) -> None:
        self._access = access
        self._is_one = is_one
        self._name = name
        self._settings = {**access.settings, **(settings or {})}
        self._probes = probes or {}
        self._pgconn: PGconn | None = None
        self._has_been = False

    @property
    def is_open(self) -> bool:
        """Whether there is a session, as far as we have heard."""
        return self._pgconn is not None and self._pgconn.status == libpq().ConnStatus.OK

    def fileno(self) -> int:
        """The socket's descriptor, -1 where there is none."""
        return self._pgconn.socket if self._pgconn is not None and self.is_open else -1

    def is_pooled(self) -> bool:
        """Whether somebody between us and the server answers for it: what we are told of the session is not so."""
        told = self._connected().backend_pid
        return self.ask("SELECT pg_backend_pid()")[0][0] != str(told)

    def ask(
        self, statement: str, values: Sequence[str | None] = (), *, about: str = "", seconds: float = 0.0
    ) -> list[Row]:
        """
        Send one statement, and return its rows. `about` names what it is about, where it may be denied.

        The answer may take `seconds`; where none are given, what `net.times` says.

        Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        pgconn = self._connected()
        try:
            pgconn.send_query_params(statement.encode(), [None if v is None else v.encode() for v in values])
            result = self._answer(pgconn, time.monotonic() + (seconds or times.BEAT.read))
        except Exception as error:
            self.close()
            raise _unavailable(error, self._access) from error
        if result.status not in (libpq().ExecStatus.TUPLES_OK, libpq().ExecStatus.COMMAND_OK):
            why = refusal(result, self._access, about)
            if isinstance(why, StoreUnavailable):
                self.close()
            raise why
        return [
            tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """End the session, if there is one."""
        pgconn, self._pgconn = self._pgconn, None
        if pgconn is not None:
            with contextlib.suppress(Exception):
                pgconn.finish()

    def _answer(self, pgconn: PGconn, until: float) -> PGresult:
        while pgconn.flush():
            _await(pgconn.socket, until, writing=True)
        last: PGresult | None = None
        while True:
            while pgconn.is_busy():
                _await(pgconn.socket, until)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                break
            last = result
        if last is None:
            raise OSError("the connection ended")
        return last

    def _connected(self) -> PGconn:
        if self._pgconn is not None and self.is_open:
            return self._pgconn
        if self._is_one and self._has_been:
            raise StoreUnavailable(
                f"The connection to PostgreSQL at {self._access.place} that carries the lock has ended."
            )
        self.close()
        self._has_been = True
        self._pgconn = _connect(self._access, self._name, self._probes)
        try:
            self._set()
        except BaseException:
            self.close()
            raise
        return self._pgconn

    def _set(self) -> None:
        """Set what the server knows of our settings; `ask` has a session by now."""
        if self._settings:
            self.ask(
                "SELECT set_config(s.name, v.value, false) FROM json_each_text($1::json) v"
                " JOIN pg_settings s ON lower(s.name) = lower(v.key)",
                [publish(self._settings).decode()],
            )


def _connect(access: PgAccess, name: str, probes: dict[str, str]) -> PGconn:
    pq = libpq()
    given: dict[str, str] = {
        "host": access.host,
        "port": access.port,
        "user": access.user,
        "dbname": access.database or access.user,
        "sslmode": access.sslmode,
        "application_name": name,
        "client_encoding": "UTF8",
        "gssencmode": "disable",
        "target_session_attrs": "any",
        **probes,
    }
    optional = {
        "password": access.password,
        "passfile": access.passfile,
        "options": access.options,
        "sslcert": access.sslcert,
        "sslkey": access.sslkey,
        "sslrootcert": access.sslrootcert,
    }
    given |= {word: value for word, value in optional.items() if value}
    until = time.monotonic() + times.BEAT.connect
    pgconn: PGconn | None = None
    try:
        pgconn = pq.PGconn.connect_start(conninfo(given))
        while pgconn.status != pq.ConnStatus.BAD:
            status = pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                pgconn.nonblocking = 1
                os.set_inheritable(pgconn.socket, False)
                return pgconn
            if status == pq.PollingStatus.FAILED:
                break
            _await(pgconn.socket, until, writing=status == pq.PollingStatus.WRITING)
        said = pgconn.error_message.decode("utf-8", "replace")
    except TimeoutError as error:
        raise _unavailable(error, access) from error
    finally:
        if pgconn is not None and (pgconn.status != pq.ConnStatus.OK):
            pgconn.finish()
    raise cannot_connect(said, access)


def _await(descriptor: int, until: float, *, writing: bool = False) -> None:
    """Wait until the socket is ready. Raises TimeoutError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError("it took too long")


def _unavailable(error: Exception, access: PgAccess) -> StoreUnavailable:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StoreUnavailable(f"No answer from PostgreSQL at {access.place} ({what}).")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
