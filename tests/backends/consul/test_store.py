"""What the contract of stores does not ask: sessions, and what outlives a lock that Consul has freed by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from tests.conftest import Consul
from tests.contract.kinds import ConsulKind, lease, record
from tfguard.backends.consul.store import ConsulStore
from tfguard.errors import ActionDenied, Conflict, StoreUnavailable
from tfguard.lock.store import LockRecord

pytestmark = pytest.mark.emulator


@pytest.fixture
def kind(consul: Consul) -> Iterator[ConsulKind]:
    with closing(ConsulKind(consul)) as made:
        yield made


def opened(kind: ConsulKind) -> ConsulStore:
    store = kind.open()
    assert isinstance(store, ConsulStore)
    return store


def session_of(kind: ConsulKind) -> dict[str, Any]:
    found: list[dict[str, Any]] = kind.server.ask(
        "GET", f"session/info/{kind.server.holder(kind.spec.path)}?consistent"
    )
    return found[0]


def end_session(kind: ConsulKind) -> None:
    kind.server.ask("PUT", f"session/destroy/{kind.server.holder(kind.spec.path)}")


def beaten(seen: LockRecord, beat: int) -> LockRecord:
    return msgspec.structs.replace(seen, lease=lease(beat))


# --- sessions -------------------------------------------------------------------------------------------------------


def test_a_session_lives_as_long_as_the_lease_and_hangs_on_nothing_else(kind: ConsulKind) -> None:
    opened(kind).create(record(lease=lease()))

    session = session_of(kind)

    assert (session["TTL"], session["LockDelay"], session["Behavior"]) == ("180s", 0, "release")
    assert not session.get("NodeChecks") and not session.get("Checks")


def test_a_hold_has_nobody_who_renews_it_so_its_session_does_not_end(kind: ConsulKind) -> None:
    held = msgspec.structs.replace(lease(), hold_until="2026-11-20T12:00:00Z")

    opened(kind).create(record(lease=held))

    assert session_of(kind)["TTL"] == ""


def test_each_acquisition_has_a_session_of_its_own_and_a_release_ends_it(kind: ConsulKind) -> None:
    store = opened(kind)
    first = store.create(record(lease=lease()))
    session = kind.server.holder(kind.spec.path)
    store.delete(first)
    store.create(record(lease=lease()))

    assert kind.server.holder(kind.spec.path) != session
    assert kind.server.ask("GET", f"session/info/{session}?consistent") == []


def test_who_is_too_late_leaves_no_session_behind(kind: ConsulKind, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(kind).create(record(lease=lease()))
    late = opened(kind)
    create, made = late._client.create_session, []

    def noted(*words: Any) -> str:
        made.append(create(*words))
        return made[-1]

    monkeypatch.setattr(late._client, "create_session", noted)
    with pytest.raises(Conflict):
        late.create(record(lease=lease()))

    assert made
    # Others use this server, too: these are our own.
    assert [kind.server.ask("GET", f"session/info/{session}?consistent") for session in made] == [[]] * len(made)


def test_a_beat_renews_the_session_before_it_is_written(kind: ConsulKind) -> None:
    store = opened(kind)
    seen = store.create(record(lease=lease(1)))
    asked: list[str] = []
    send = store._client.transport.send

    def noting(request: Any, *rest: Any) -> Any:
        asked.append(request.url.rpartition("/v1/")[2].partition("/")[0])
        return send(request, *rest)

    store._client.transport.send = noting  # type: ignore[method-assign]
    store.replace(seen, beaten(seen, 2))

    assert asked == ["session", "txn"]


def test_a_beat_after_the_end_of_its_session_conflicts_and_changes_nothing(kind: ConsulKind) -> None:
    store = opened(kind)
    seen = store.create(record(lease=lease(1)))
    end_session(kind)

    for attempt in (lambda: store.replace(seen, beaten(seen, 2)), lambda: store.delete(seen)):
        with pytest.raises(Conflict):
            attempt()

    assert store.read() is None


def test_a_takeover_needs_no_end_of_the_dead_ones_session(kind: ConsulKind) -> None:
    seen = opened(kind).create(record(lease=lease(1)))
    session = kind.server.holder(kind.spec.path)

    opened(kind).replace(seen, record(lease=lease(1)))

    assert kind.server.ask("GET", f"session/info/{session}?consistent") != []
    assert kind.server.holder(kind.spec.path) not in ("", session)


# --- what outlives a lock -------------------------------------------------------------------------------------------


def take_as_terraform(kind: ConsulKind, info: bytes | None = None) -> str:
    session: str = kind.server.ask("PUT", "session/create", b'{"NodeChecks": []}')["ID"]
    assert kind.server.ask("PUT", f"kv/{kind.spec.path}/.lock?acquire={session}", b"") is True
    if info is not None:
        kind.server.ask("PUT", f"kv/{kind.spec.path}/.lockinfo", info)
    return session


def test_a_lock_that_consul_has_freed_is_free_whatever_stands_beside_it(kind: ConsulKind) -> None:
    opened(kind).create(record(lease=lease()))
    end_session(kind)

    assert kind.info()
    assert opened(kind).read() is None
    opened(kind).create(record(lease=lease()))


def test_a_plain_terraform_is_never_taken_for_the_dead_one_whose_info_is_still_there(kind: ConsulKind) -> None:
    dead = opened(kind).create(record(lease=lease()))
    end_session(kind)
    take_as_terraform(kind)

    found = opened(kind).read()

    assert found is not None
    assert (found.id, found.lease) == ("", None)
    with pytest.raises(Conflict):
        opened(kind).replace(dead, record(lease=lease()))


def test_a_lease_of_another_session_is_none_however_late_it_was_written(kind: ConsulKind) -> None:
    opened(kind).create(record(lease=lease()))
    late = kind.info()
    end_session(kind)
    take_as_terraform(kind, b"{}")  # To write what stands there already would be no change.
    kind.server.ask("PUT", f"kv/{kind.spec.path}/.lockinfo", late)

    found = opened(kind).read()

    assert found is not None
    assert found.info is not None
    assert found.lease is None


def test_terraforms_own_info_is_believed(kind: ConsulKind) -> None:
    info = record().text

    take_as_terraform(kind, info.encode())

    found = opened(kind).read()
    assert found is not None
    assert (found.text, found.lease) == (info, None)


def test_what_is_deleted_by_force_ends_the_session_of_who_held_it(kind: ConsulKind) -> None:
    session = take_as_terraform(kind, record().text.encode())
    store = opened(kind)
    seen = store.read()
    assert seen is not None

    store.delete(seen)

    assert store.read() is None
    assert kind.server.ask("GET", f"session/info/{session}?consistent") == []


def test_a_lock_delay_is_a_conflict_and_shows_nobody(kind: ConsulKind) -> None:
    wanted = b'{"NodeChecks": [], "LockDelay": "5s"}'
    session = kind.server.ask("PUT", "session/create", wanted)["ID"]
    kind.server.ask("PUT", f"kv/{kind.spec.path}/.lock?acquire={session}", b"")
    kind.server.ask("PUT", f"session/destroy/{session}")

    with pytest.raises(Conflict, match="lock delay"):
        opened(kind).create(record(lease=lease()))

    assert opened(kind).read() is None


def test_a_renewal_that_is_lost_is_no_beat(kind: ConsulKind) -> None:
    store = opened(kind)
    seen = store.create(record(lease=lease(1)))
    send = store._client.transport.send

    def losing(request: Any, *rest: Any) -> Any:
        if "/session/renew/" in request.url:
            raise OSError
        return send(request, *rest)

    store._client.transport.send = losing  # type: ignore[method-assign]
    with pytest.raises((StoreUnavailable, OSError)):
        store.replace(seen, beaten(seen, 2))
    store._client.transport.send = send  # type: ignore[method-assign]

    found = store.read()
    assert found is not None
    assert found.beat == 1


# --- waiting --------------------------------------------------------------------------------------------------------


def test_who_waits_is_woken_by_a_release_and_not_by_a_beat(kind: ConsulKind) -> None:
    import threading

    holder, waiter = opened(kind), opened(kind)
    seen = holder.create(record(lease=lease(1)))
    waiter.read()
    woken: list[float] = []

    def wait() -> None:
        waiter.await_change(60, lambda: False)
        woken.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    for beat in (2, 3):
        seen = holder.replace(seen, beaten(seen, beat))
    assert not woken
    holder.delete(seen)
    thread.join(60)

    assert woken


def test_who_waits_for_what_has_changed_already_does_not_wait(kind: ConsulKind) -> None:
    holder, waiter = opened(kind), opened(kind)
    seen = holder.create(record(lease=lease(1)))
    waiter.read()
    holder.delete(seen)

    waiter.await_change(3600, lambda: False)


def test_who_is_told_that_it_is_over_waits_no_longer(kind: ConsulKind) -> None:
    waiter = opened(kind)
    waiter.create(record(lease=lease(1)))
    waiter.read()

    waiter.await_change(3600, lambda: True)

    assert waiter.read() is not None


# --- the state ------------------------------------------------------------------------------------------------------


def test_a_state_is_read_plain_compressed_and_in_chunks(kind: ConsulKind) -> None:
    import gzip

    from tfguard.backends.consul.spec import ConsulState

    server, path = kind.server, kind.spec.path
    state = ConsulState(path=path, consul=kind.spec.consul)
    missing = state.read(100)
    read = []
    for content in (b'{"serial": 1}', gzip.compress(b'{"serial": 1}')):
        server.ask("PUT", f"kv/{path}", content)
        read.append(state.read(100))
    for index, part in enumerate((b'{"serial"', b": 1}")):
        server.ask("PUT", f"kv/{path}/tfstate.abc/{index}", part)
    chunks = [f"{path}/tfstate.abc/{index}" for index in range(2)]
    server.ask("PUT", f"kv/{path}", json.dumps({"current-hash": "abc", "chunks": chunks}).encode())
    read.append(state.read(100))

    assert missing is None
    assert read == [b'{"serial": 1}'] * 3


def test_a_copy_lies_beside_the_state_and_is_found_again(kind: ConsulKind, tmp_path: Any) -> None:
    from tfguard.backends.consul.spec import ConsulState

    state = ConsulState(path=kind.spec.path, consul=kind.spec.consul)
    (tmp_path / "errored.tfstate").write_text("unsaved")

    place = state.keep_copy(str(tmp_path / "errored.tfstate"), "id-1")

    assert state.find_copies() == [place]
    assert state.has_copy(place)
    assert kind.server.value(f"{kind.spec.path}/.errored.id-1") == b"unsaved"


def test_a_lock_that_may_not_be_read_is_not_taken_for_free(guarded_consul: Consul) -> None:
    """Of a question about several keys Consul leaves out what a token may not read: a run would think its lock gone."""
    with closing(ConsulKind(guarded_consul)) as kind, pytest.raises(ActionDenied) as raised:
        opened(kind).read()

    assert raised.value.action == "key:read"
