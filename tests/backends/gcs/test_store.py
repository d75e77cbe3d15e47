"""What sets Google's storage apart from other stores of locks; the contract of all is in `tests/contract`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Gcs
from tests.contract.kinds import GcsKind, lease, record
from tfguard.backends.gcs.spec import GcsAccess, GcsState, StateProbe
from tfguard.backends.gcs.store import GcsStore
from tfguard.backends.target import Target
from tfguard.errors import Conflict, StoreMisconfigured
from tfguard.lock.store import Holder, LockRecord

pytestmark = pytest.mark.emulator


@pytest.fixture
def kind(gcs: Gcs) -> Iterator[GcsKind]:
    made = GcsKind(gcs)
    yield made
    made.close()


def beaten(seen: LockRecord, beat: int) -> LockRecord:
    return msgspec.structs.replace(seen, lease=lease(beat))


def test_a_heartbeat_leaves_the_generation_and_a_takeover_does_not(kind: GcsKind) -> None:
    store = kind.open()
    first = store.create(record(lease=lease(1)))

    second = store.replace(first, beaten(first, 2))
    third = store.replace(second, record(lease=lease(1)))

    assert first.handle == second.handle != third.handle
    assert (kind.server.about(kind.spec.bucket, kind.spec.key) or {})["generation"] == third.handle


def test_a_takeover_is_refused_by_a_heartbeat_that_came_in_between(kind: GcsKind) -> None:
    holder, thief = kind.open(), kind.open()
    seen = holder.create(record(lease=lease(1)))
    holder.replace(seen, beaten(seen, 2))

    with pytest.raises(Conflict):
        thief.replace(seen, record(lease=lease(1)))

    found = thief.read()
    assert found is not None and found.id == seen.id


def test_a_release_is_not_failed_by_a_heartbeat_in_flight(kind: GcsKind) -> None:
    store = kind.open()
    seen = store.create(record(lease=lease(1)))
    store.replace(seen, beaten(seen, 2))

    store.delete(seen)

    assert store.read() is None


def test_a_lease_that_is_too_long_for_metadata_is_cut_and_its_numbers_are_not(kind: GcsKind) -> None:
    long = msgspec.structs.replace(
        lease(3), holder=Holder(who="w" * 3000, command="ü" * 3000, run="r" * 3000, link="l" * 3000), reason="x" * 3000
    )
    store = kind.open()

    stored = store.create(record(lease=long))

    found = store.read()
    assert found == stored
    assert found is not None and found.lease is not None
    assert (found.beat, found.lease.duration_ms, found.lease.sent) == (3, long.duration_ms, long.sent)
    assert found.lease.holder.who.startswith("www")
    assert found.lease.holder.link == "", "half a link leads nowhere"


@pytest.mark.parametrize("value", ["", "null", "7", "[" * 2000, '{"beat": "x"}'])
def test_metadata_that_is_not_ours_is_no_lease(kind: GcsKind, value: str) -> None:
    store = kind.open()
    assert isinstance(store, GcsStore)
    store.create(record())
    store._client.annotate(kind.spec.key, {"tfguard": value}, {})

    found = kind.open().read()

    assert found is not None and found.info is not None and found.lease is None


def test_a_body_is_fetched_once_for_each_generation(kind: GcsKind) -> None:
    store = kind.open()
    assert isinstance(store, GcsStore)
    asked: list[str] = []
    send = store._client.transport.send
    store.create(record(lease=lease(1)))
    store._client.transport.send = lambda request, limit: asked.append(request.url) or send(request, limit)  # type: ignore[func-returns-value,method-assign,assignment]

    looks = [store.read() for _ in range(3)]

    assert looks[0] == looks[1] == looks[2]
    assert len([url for url in asked if "alt=media" in url]) == 1
    assert len(asked) == 4


def test_who_may_not_change_metadata_beats_by_writing_anew(kind: GcsKind) -> None:
    access = GcsAccess(access_token="without:storage.objects.update", endpoint=kind.server.endpoint)
    with closing(GcsStore(msgspec.structs.replace(kind.spec, gcs=access))) as store:
        seen = store.create(record(lease=lease(1)))

        second = store.replace(seen, beaten(seen, 2))
        with pytest.raises(Conflict):
            store.replace(seen, beaten(seen, 3))

        assert (second.beat, second.text) == (2, seen.text)
        assert second.handle != seen.handle
        store.delete(second)


def test_locks_beside_are_listed_by_the_state_that_they_protect(kind: GcsKind) -> None:
    from tfguard.backends.gcs.backend import locks_beside

    kind.open().create(record())
    kind.server.put(kind.spec.bucket, "prod/default.tfstate", b"{}")

    assert list(locks_beside(kind.spec, None)) == [(f"{kind.spec.bucket}/prod/default.tfstate", kind.spec)]


# --- the state ------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(kind: GcsKind) -> GcsState:
    return GcsState(bucket=kind.spec.bucket, key="prod/default.tfstate", gcs=kind.spec.gcs)


def test_a_state_is_read_and_copies_lie_beside_it(kind: GcsKind, state: GcsState, tmp_path: Path) -> None:
    probe = StateProbe(workspace="default", state=state)
    before = (probe.exists(), state.read(10), state.find_copies())
    kind.server.put(state.bucket, state.key, b"0123456789ab")
    (tmp_path / "errored").write_bytes(b"unsaved")

    place = state.keep_copy(str(tmp_path / "errored"), "id-1")

    assert before == (False, None, [])
    assert (probe.exists(), state.read(10)) == (True, b"0123456789")
    assert state.find_copies() == [place] == [f"gs://{state.bucket}/prod/default.tfstate.errored.id-1"]
    assert state.has_copy(place)
    assert kind.server.body(state.bucket, "prod/default.tfstate.errored.id-1") == b"unsaved"
    kind.server.delete(state.bucket, "prod/default.tfstate.errored.id-1")
    assert not state.has_copy(place)
    assert state.server_date() is not None


def test_a_customers_key_that_is_none_is_said_without_its_text(state: GcsState, tmp_path: Path) -> None:
    (tmp_path / "errored").write_bytes(b"unsaved")
    broken = msgspec.structs.replace(state, encryption_key="no base64!")

    with pytest.raises(StoreMisconfigured) as raised:
        broken.keep_copy(str(tmp_path / "errored"), "id-1")

    assert "no base64!" not in str(raised.value)
    assert "no base64!" in Target(label="", path="", backend="gcs", workspace="", stores=(), state=broken).secrets()
