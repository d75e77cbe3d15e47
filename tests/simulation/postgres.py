"""
A PostgreSQL of simulated time: the lock is a connection's, and free for everybody at once when that ends.

Real: the store (`backends.pg`), statement by statement. Modelled: the server, as far as those statements go, its
sessions, and the kernel's part: a session lives as long as any process has its descriptor, and the server has not been
told to end it, or heard nothing of its machine for as long as the session's settings say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.threads import Thread, current
from tests.simulation.world import Machine, Process, Wire, World
from tfguard.backends.pg.spec import PgAccess, PgSpec
from tfguard.errors import StoreUnavailable, TfguardError
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.store import Lease, LockRecord, QueueRecord
from tfguard.wire import publish

if TYPE_CHECKING:
    from tests.simulation.code import Code

SPEC = PgSpec(name="default", schema="s", pg=PgAccess(host="server", database="db"))
Row = tuple["str | None", ...]
#: The lock of everybody who creates a state, and that of ours, which has been created.
_CREATION, _STATE = "-1", "1"
#: When the server's clock says 0, in seconds.
_EPOCH = 1.7e9


@dataclass(frozen=True)
class Kept:
    """
    For how long the server keeps a session of which it hears nothing, as Linux counts that: from what it heard last,
    which is the answer to a probe that may be as old as `probe_seconds`.
    """

    seconds: float = float("inf")
    probe_seconds: float = 0.0

    @classmethod
    def by(cls, settings: dict[str, str]) -> Kept:
        """What a session's settings say."""
        if "tcp_user_timeout" not in settings:
            return cls()
        return cls(float(settings["tcp_user_timeout"]) / 1000, float(settings["tcp_keepalives_idle"]))


class Session:
    """One connection to the server. `holders` have its descriptor, `number`; a plain Terraform's has none."""

    def __init__(self, number: int, name: str, holders: Sequence[Process], kept: Kept) -> None:
        self.number = number
        self.name = name
        self.holders = list(holders)
        self.kept = kept
        self.is_alive = True
        self.is_told = self.is_silent = False
        self.plain: LockRecord | None = None
        self.waiting: list[Callable[[Any], None]] = []

    @property
    def lock_id(self) -> str:
        return self.name.partition(" ")[2]


class Server:
    """Rows, sessions, and who has which advisory lock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._table = world.stores[0].table
        self._sessions: dict[int, Session] = {}
        self._locks: dict[str, Session] = {}

    # --- sessions -----------------------------------------------------------------------------------------------

    def open(self, name: str, holders: Sequence[Process] = (), kept: Kept = Kept()) -> Session:
        session = Session(len(self._sessions) + 3, name, holders, kept)
        self._sessions[session.number] = session
        return session

    def session(self, number: int) -> Session:
        return self._sessions[number]

    def end(self, session: Session) -> None:
        """End it, and tell whoever has its other end, a moment later, or once that can be reached."""
        if not session.is_alive:
            return
        session.is_alive = False
        held = [number for number, holder in self._locks.items() if holder is session]
        for number in held:
            del self._locks[number]
        if held:
            self._world.tell("server", f"the session of {session.name or 'a plain Terraform'} ends")
            self._world.observer.on_changed()
        if not session.is_silent:
            self._world.after(0.005 + 0.05 * self._world.random.random(), self._tell_end, session)

    def _tell_end(self, session: Session) -> None:
        cut_until = max((holder.machine.cut_until for holder in session.holders), default=0.0)
        if cut_until > self._world.time:
            self._world.after(0.5, self._tell_end, session)
            return
        session.is_told = True
        waiting, session.waiting = session.waiting, []
        for hear in waiting:
            hear(None)

    def hold(self, number: int, process: Process) -> None:
        """Another process has its descriptor."""
        self._sessions[number].holders.append(process)

    def let_go(self, number: int, process: Process) -> None:
        """A process has closed one."""
        session = self._sessions[number]
        if process in session.holders:
            session.holders.remove(process)

    def on_cut(self, machine: Machine) -> None:
        """Nothing is heard of a machine from now on."""
        for session in self._sessions.values():
            if session.is_alive and any(holder.machine is machine for holder in session.holders):
                unheard = self._world.random.uniform(0, session.kept.probe_seconds)
                self._world.after(session.kept.seconds - unheard, self._miss, session, machine, self._world.time)

    def _miss(self, session: Session, machine: Machine, since: float) -> None:
        if machine.cut_since <= since and machine.is_cut and session.is_alive:
            self._world.tell("server", f"hears nothing of {session.name}")
            self.end(session)

    def sever(self, session: Session, *, is_silent: bool = False) -> None:
        """
        Somebody ends it who has no business with it: a restart, a pooler, a network.

        `is_silent`: its other end never hears of that.
        """
        session.is_silent = is_silent
        self._world.observer.on_severed(session.lock_id, is_silent=is_silent)
        self.end(session)

    def deafen(self, session: Session) -> None:
        """Nothing passes any more: our end gives up first, and the server some time later."""
        self._world.tell("server", f"{session.name} is cut off")
        self._tell_end(session)
        self._world.after(session.kept.seconds / 4, self._give_up, session)

    def _give_up(self, session: Session) -> None:
        if session.is_alive:
            self.sever(session)

    def carriers(self) -> list[Session]:
        """The sessions that carry a lock of ours."""
        return [each for each in self._holding() if each.plain is None]

    def _holding(self) -> list[Session]:
        """Who holds the state's lock, once those have ended that nobody has any more."""
        for session in list(self._locks.values()):
            is_there = session.plain is not None or any(holder.is_alive for holder in session.holders)
            if not is_there and session.name:
                self.end(session)
        return [self._locks[number] for number in (_STATE, _CREATION) if number in self._locks]

    # --- a plain Terraform, and a person ------------------------------------------------------------------------

    def record(self) -> LockRecord | None:
        """Whose the lock is: a plain Terraform's, else the row's."""
        plain = next((each.plain for each in self._holding() if each.plain is not None), None)
        return plain if plain is not None else self._row()

    def lock_plainly(self, record: LockRecord) -> Session | None:
        """Take it as a plain Terraform does, which knows nothing of rows; None if it is locked."""
        if self._holding():
            return None
        session = self.open("")
        session.plain = record
        self._locks[_STATE] = session
        row = self._row()
        if row is not None:
            self._world.observer.on_plain_between(row.id)
        return session

    def unlock(self) -> LockRecord | None:
        """Remove whatever lock there is, as a person does; return what it was."""
        found = self.record()
        for session in self._holding():
            self.end(session)
        row = self._row()
        if found is not None and row is not None and found.id == row.id:
            del self._table.records["lock"]
        return found

    # --- statements ---------------------------------------------------------------------------------------------

    def _row(self) -> LockRecord | None:
        return self._table.records.get("lock")

    def execute(self, link: Link, statement: str, values: Sequence[str | None]) -> list[Row]:
        """What a statement of the store's does, and answers. It must be one of those below."""
        for start, word, does in (
            ("SELECT to_regclass", "", lambda *_: [("t",)]),
            ("SELECT extract", "", self._look),
            ("SELECT pg_try_advisory_lock(-1)", "", lambda *_: self._lock(link.session, _CREATION)),
            ("SELECT pg_try_advisory_lock($1::bigint), pg_advisory_unlock(-1)", "", self._swap),
            ("SELECT id FROM", "states", lambda *_: [(_STATE,)]),
            ("SELECT 1 FROM pg_locks", "", self._is_carried),
            ("SELECT queue", "", self._read_queue),
            ("INSERT", "(name, queue", self._create_queue),
            ("UPDATE", "SET queue", self._replace_queue),
            ("INSERT", "(name, lock", self._create),
            ("SELECT count(pg_terminate_backend(pid))", "", lambda *_: [(self._ended(statement, values[0]),)]),
            ("WITH claimed", "", self._claim),
            ("WITH emptied", "", self._empty),
            ("UPDATE", "SET lock = NULL", self._give_back),
            ("UPDATE", "SET beat", self._beat),
        ):
            if statement.startswith(start) and word in statement:
                return does(link, statement, values)
        raise AssertionError(f"nobody knows here what this does: {statement}")

    def _look(self, link: Link, _: str, __: Sequence[str | None]) -> list[Row]:
        row = self._row()
        ours: Row = (None, None, None)
        if row is not None:
            lease = publish(row.lease).decode() if row.lease is not None else None
            ours = row.text, str(row.beat) if row.lease is not None else "-1", lease
        now = str(_EPOCH + self._world.time)
        sessions = [(str(each.number), each.name, "postgres", "::1", now) for each in self._holding()]
        return [(now, *ours, *each) for each in sessions or [(None,) * 5]]

    def _lock(self, session: Session, number: str) -> list[Row]:
        self._holding()
        holder = self._locks.get(number)
        if holder not in (None, session) or not session.is_alive:
            return [("f",)]
        self._locks[number] = session
        if number == _STATE:
            self._world.observer.on_carried(session.lock_id)
        return [("t",)]

    def _swap(self, link: Link, _: str, __: Sequence[str | None]) -> list[Row]:
        got = self._lock(link.session, _STATE)[0][0]
        if self._locks.get(_CREATION) is link.session:
            del self._locks[_CREATION]
        return [(got, "t")]

    def _is_carried(self, link: Link, _: str, values: Sequence[str | None]) -> list[Row]:
        return [("1",) for each in self._holding() if each.name == values[0]]

    def _create(self, link: Link, _: str, values: Sequence[str | None]) -> list[Row]:
        return self._write(link, _record(*values[1:4])) if self._row() is None else []

    def _claim(self, link: Link, statement: str, values: Sequence[str | None]) -> list[Row]:
        row, (_, text, new, beat, lease, seen, name) = self._row(), values
        if row is None or row.text != text or row.lease is None or str(row.beat) != seen:
            return [("0", "0")]
        self._write(link, _record(new, beat, lease))
        return [("1", self._ended(statement, name))]

    def _empty(self, link: Link, statement: str, values: Sequence[str | None]) -> list[Row]:
        row, (_, text, name) = self._row(), values
        if row is None or row.text != text:
            return [("0", "0")]
        self._write(link, None)
        return [("1", self._ended(statement, name))]

    def _give_back(self, link: Link, _: str, values: Sequence[str | None]) -> list[Row]:
        row = self._row()
        return self._write(link, None) if row is not None and row.text == values[1] else []

    def _beat(self, link: Link, statement: str, values: Sequence[str | None]) -> list[Row]:
        row = self._row()
        if row is None or row.text != values[1] or row.lease is None or str(row.beat) != values[2]:
            return []
        if "EXISTS" in statement and not self._is_carried(link, "", values[5:]):
            return []
        return self._write(link, _record(values[1], values[3], values[4]))

    def _ended(self, statement: str, name: str | None) -> str:
        ended = [each for each in self._holding() if each.name == name] if "pg_terminate_backend" in statement else []
        for session in ended:
            self.end(session)
        return str(len(ended))

    def _write(self, link: Link, record: LockRecord | None) -> list[Row]:
        before = self._row()
        if record is None:
            del self._table.records["lock"]
        else:
            self._table.records["lock"] = record
        link.note(before, record)
        return [("1",)]

    # --- the line -----------------------------------------------------------------------------------------------

    def _queue(self) -> QueueRecord | None:
        if self._world.weather.queue is not None:
            raise self._world.weather.queue.with_traceback(None)
        return self._table.queues.get("lock")

    def _read_queue(self, *_: object) -> list[Row]:
        found = self._queue()
        return [(queue_record.encode_record(found).decode(),)] if found is not None else []

    def _create_queue(self, link: Link, _: str, values: Sequence[str | None]) -> list[Row]:
        return self._write_queue(link, values[1]) if self._queue() is None else []

    def _replace_queue(self, link: Link, _: str, values: Sequence[str | None]) -> list[Row]:
        found = self._queue()
        return self._write_queue(link, values[1]) if found is not None and str(found.revision) == values[3] else []

    def _write_queue(self, link: Link, content: str | None) -> list[Row]:
        record = queue_record.decode_record((content or "").encode())
        self._table.queues["lock"] = record
        self._world.observer.on_queue_written(link, record)
        return [("1",)]


def _record(text: str | None, beat: str | None, lease: str | None) -> LockRecord:
    found = msgspec.json.decode(lease, type=Lease) if lease else None
    assert found is None or str(found.beat) == beat
    return LockRecord(text=text or "", info=lockinfo.decode(text or ""), lease=found)


class Link(Wire):
    """A connection, as the store knows it: `backends.pg.client.Connection`."""

    def __init__(
        self,
        _: PgAccess,
        name: str,
        settings: dict[str, str] | None = None,
        *,
        is_one: bool = False,
        probes: dict[str, str] | None = None,
    ) -> None:
        super().__init__(current().process, 0)
        self._name = name
        self._is_one = is_one
        self._session: Session | None = None
        self._has_been = False
        self._kept = Kept.by(settings or {})

    @property
    def session(self) -> Session:
        assert self._session is not None
        return self._session

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def fileno(self) -> int:
        return self._session.number if self._session is not None else -1

    def is_pooled(self) -> bool:
        return False

    def ask(
        self, statement: str, values: Sequence[str | None] = (), *, about: str = "", seconds: float = 0.0
    ) -> list[Row]:
        if self._session is None:
            if self._is_one and self._has_been:
                raise StoreUnavailable("what carried the lock has ended")
            self._has_been = True
            self._session = self._server.open(self._name, [self.process], self._kept)
        try:
            return self._ask(statement, *values)  # type: ignore[no-any-return]
        except StoreUnavailable:
            self.close()
            raise

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._world.at(self.process.machine.cut_until, self._world.after, 0.01, self._server.end, session)

    @property
    def _server(self) -> Server:
        server: Server = self._world.server
        return server

    def note(self, before: LockRecord | None, after: LockRecord | None) -> None:
        self._world.tell(self.process.name, f"row: {_shown(before)} → {_shown(after)}")
        self._world.observer.on_written(self, before, after, is_late=self._is_late)

    def _answer(self, operation: str, arguments: tuple[Any, ...], *, is_late: bool) -> Any:
        self._is_late = is_late
        if self._session is None or not self._session.is_alive:
            return StoreUnavailable("the connection ended")
        try:
            return self._server.execute(self, operation, arguments)
        except TfguardError as error:
            return error


def _shown(record: LockRecord | None) -> str:
    return f"{record.id}#{record.beat}" if record else "free"


class PgWire(Wire):
    """A `Wire` whose requests are the real store's."""

    def __init__(self, process: Process, code: Code, descriptor: int) -> None:
        super().__init__(process, 0)
        self._store = code.store.PgStore(SPEC, descriptor)

    def _ask(self, operation: str, *arguments: Any) -> Any:
        return getattr(self._store, operation)(*arguments)

    def fileno(self) -> int:
        return self._store.fileno()  # type: ignore[no-any-return]

    def on_end(self, tell: Callable[[], None]) -> None:
        self._store.on_end(tell)

    @property
    def carriers(self) -> int:
        return self._store.carriers  # type: ignore[no-any-return]

    @property
    def has_state_changed(self) -> bool:
        return self._store.has_state_changed  # type: ignore[no-any-return]

    def close(self) -> None:
        self._store.close()


class Kernel:
    """What the store asks of the machine: `os`, `select`, `threads` and `time`, as far as it does."""

    POLLRDHUP = 0

    @staticmethod
    def dup(descriptor: int) -> int:
        return descriptor

    @staticmethod
    def close(descriptor: int) -> None:
        process = current().process
        process.world.server.let_go(descriptor, process)

    @staticmethod
    def monotonic() -> float:
        return current().process.machine.boottime()

    @staticmethod
    def sleep(seconds: float) -> None:
        current().rest(seconds)

    @staticmethod
    def start(_: str, body: Callable[[], None], *, on_defect: object) -> None:
        Thread(current().process, body)

    class poll:  # noqa: N801 - as `select` calls it
        def register(self, descriptor: int, _: int) -> None:
            self._session = current().process.world.server.session(descriptor)

        def poll(self) -> None:
            if not self._session.is_told:
                self._session.waiting.append(current().resume_at_reply())
                current().block()
