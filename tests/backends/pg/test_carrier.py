"""The connection that carries Terraform's lock: what becomes of it when its ends know nothing of one another."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.conftest import Postgres
from tests.contract.kinds import PgKind, lease, record
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, proxy
from tfguard.backends.pg.carrier import given_up_after, kept_for
from tfguard.errors import StoreUnavailable
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.store import LockRecord

CARRIER = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tfguard %' AND datname = current_database()"
HOLDERS = (
    "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
    " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
)


@pytest.mark.parametrize("seconds", [3.0, 30.0, 180.0, 3600.0])
def test_a_server_lets_go_after_a_lease_and_the_freeze_and_our_end_gives_up_between_the_two(seconds: float) -> None:
    """As Linux counts: from the last answer to a probe, which may be as old as the pause between two."""
    freeze = Deadlines.of(seconds).freeze
    ours, theirs = given_up_after(seconds), kept_for(seconds)
    probe = int(theirs["tcp_keepalives_idle"])
    server = int(theirs["tcp_user_timeout"]) / 1000
    counted = probe + int(theirs["tcp_keepalives_interval"]) * int(theirs["tcp_keepalives_count"])
    end = int(ours["tcp_user_timeout"]) / 1000

    assert server - probe >= seconds
    assert counted - probe >= seconds
    assert server + probe <= 1.2 * seconds or probe == 1
    assert int(theirs["tcp_keepalives_count"]) <= 127
    assert freeze < end + probe <= seconds + 1


@pytest.fixture
def kind(postgres: Postgres) -> Iterator[PgKind]:
    made = PgKind(postgres, is_terraforms=True)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def between(kind: PgKind) -> Iterator[Proxy]:
    """A proxy between the store of `kind` and its server."""
    with proxy(kind.server.endpoint) as made:
        port = made.endpoint.rpartition(":")[2]
        kind.spec = msgspec.structs.replace(kind.spec, pg=msgspec.structs.replace(kind.spec.pg, port=port))
        yield made


def port_of(store: Any) -> int:
    """Whence it reaches the server with what carries its lock."""
    with socket.socket(fileno=os.dup(store.fileno())) as found:
        port: int = found.getsockname()[1]
        return port


def beaten(held: LockRecord) -> LockRecord:
    assert held.lease is not None
    return msgspec.structs.replace(held, lease=msgspec.structs.replace(held.lease, beat=held.beat + 1))


@pytest.mark.emulator
def test_both_ends_look_for_one_another(kind: PgKind) -> None:
    store: Any = kind.open()
    store.create(record(lease=lease()))

    with socket.socket(fileno=os.dup(store.fileno())) as ours:
        known = [
            ours.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)
        ]
    settings = store._carrier._session.ask(
        "SELECT current_setting('tcp_keepalives_idle'), current_setting('tcp_user_timeout')"
    )

    assert known == [10, 135_000]
    assert settings == [("10", "190000")]


@pytest.mark.emulator
def test_an_end_that_nobody_hears_of_is_told_by_a_beat_before_the_lock_is_taken_again(
    kind: PgKind, between: Proxy
) -> None:
    store: Any = kind.open()
    held = store.create(record(lease=lease()))
    told: list[list[tuple[Any, ...]]] = []
    store.on_end(lambda: told.append(kind.server.ask(kind.database, HOLDERS)))
    between.cut(port_of(store))
    before = kind.server.ask(kind.database, CARRIER)
    kind.server.ask(kind.database, f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s")
    eventually(lambda: not kind.server.ask(kind.database, HOLDERS), 30, "a lock that is free")

    still = store.replace(held, beaten(held))

    assert still.beat == held.beat + 1
    assert told == [[]]
    assert store.carriers == 2
    assert kind.server.ask(kind.database, CARRIER) not in ([], before)


@pytest.mark.emulator
def test_a_session_that_has_nobody_at_our_end_any_more_is_replaced(kind: PgKind, between: Proxy) -> None:
    """Our end has given up; the server has not, and would let go without a word."""
    store: Any = kind.open()
    held = store.create(record(lease=lease()))
    before = kind.server.ask(kind.database, CARRIER)
    heard = threading.Event()
    store.on_end(heard.set)
    between.cut(port_of(store), is_ended=True)
    assert heard.wait(30)

    store.replace(held, beaten(held))

    after = kind.server.ask(kind.database, CARRIER)
    assert len(after) == 1
    assert after != before
    assert kind.server.ask(kind.database, HOLDERS) == after


@pytest.mark.emulator
def test_a_lock_whose_answer_was_lost_is_carried_by_a_session_that_we_have(
    kind: PgKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has it in the server is nobody's, and ends as soon as the server finds out."""
    store: Any = kind.open()
    wanted = record(lease=lease())
    with contextlib.closing(kind.server.connect(kind.database, f"tfguard {wanted.id}")) as other:
        number = kind.server.ask(kind.database, "SELECT id FROM tf.states WHERE name = 'prod'")[0][0]
        monkeypatch.setattr(store._carrier, "take", _take_for(store, other, number))
        with pytest.raises(TimeoutError):
            store.create(wanted)
        monkeypatch.undo()

        found = store.read()

    assert found is not None
    assert found.id == wanted.id
    assert store.fileno() >= 0
    assert kind.server.ask(kind.database, HOLDERS) == kind.server.ask(kind.database, CARRIER)
    assert len(kind.server.ask(kind.database, CARRIER)) == 1


def _take_for(store: Any, session: Any, number: int) -> Any:
    def take(*_: object, **__: object) -> None:
        session.execute("SELECT pg_advisory_lock(%s)", [number])
        raise TimeoutError

    return take


@pytest.mark.emulator
def test_who_takes_the_lock_again_for_a_row_that_is_anothers_by_then_lets_go_of_it(
    kind: PgKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep out the other, and everybody else, until the last of our processes has ended."""
    store: Any = kind.open()
    store.create(record(lease=lease()))
    other = record(lease=lease())
    kind.server.ask(kind.database, f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s")
    eventually(lambda: not kind.server.ask(kind.database, HOLDERS), 30, "a lock that is free")
    take = store._carrier.take

    def claimed_meanwhile(*given: Any, **how: Any) -> None:
        kind.server.ask(kind.database, f"UPDATE tf.tfguard SET lock = '{other.text}' WHERE name = 'prod'")
        take(*given, **how)

    monkeypatch.setattr(store._carrier, "take", claimed_meanwhile)

    with contextlib.suppress(StoreUnavailable):  # It changes while we look.
        store.read()
    with contextlib.suppress(StoreUnavailable):
        store.read()

    eventually(lambda: not kind.server.ask(kind.database, HOLDERS), 15, "a lock that is free again")
    found = store.read()
    assert found is not None
    assert found.id == other.id


@pytest.mark.emulator
@pytest.mark.parametrize("is_written", [False, True])
def test_whether_the_state_was_written_before_the_lock_was_taken_again_is_seen(kind: PgKind, is_written: bool) -> None:
    """A plain Terraform may come and go: there is no trace of it but that."""
    store: Any = kind.open()
    held = store.create(record(lease=lease()))
    held = store.replace(held, beaten(held))
    kind.server.ask(kind.database, f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s")
    eventually(lambda: not kind.server.ask(kind.database, HOLDERS), 30, "a lock that is free")
    if is_written:
        kind.server.ask(kind.database, "UPDATE tf.states SET data = '{}' WHERE name = 'prod'")

    held = store.replace(held, beaten(held))
    seen = store.has_state_changed
    store.replace(held, beaten(held))

    assert seen == is_written
    assert not store.has_state_changed
