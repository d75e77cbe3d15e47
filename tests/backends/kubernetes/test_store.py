"""What the contract of stores does not ask: what outlives a lock in its Lease, and whose writes it bears."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from tests.conftest import Kubernetes
from tests.contract.kinds import KubernetesKind, lease, record
from tests.support.eventually import patience
from tfguard.backends.checks import tried
from tfguard.backends.kubernetes.spec import KubernetesSpec
from tfguard.backends.kubernetes.store import INFO, LEASE, KubernetesStore
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.lock.store import LockRecord, QueueRecord

pytestmark = pytest.mark.emulator


@pytest.fixture
def kind(kubernetes: Kubernetes) -> Iterator[KubernetesKind]:
    with closing(KubernetesKind(kubernetes)) as made:
        yield made


def stored(kind: KubernetesKind) -> dict[str, Any]:
    found: dict[str, Any] = kind.server.read("leases", kind.spec.namespace, kind.spec.name)
    return found


def write(kind: KubernetesKind, annotations: dict[str, str], spec: dict[str, Any]) -> None:
    """Write the Lease as Terraform does: read, change what is one's own, write."""
    found = kind.server.read("leases", kind.spec.namespace, kind.spec.name)
    body = found or {"metadata": {"name": kind.spec.name}}
    about = {**body["metadata"], "annotations": {**body["metadata"].get("annotations", {}), **annotations}}
    do = kind.server.write if found else kind.server.make
    do("leases", kind.spec.namespace, {**body, "metadata": about, "spec": spec})


def plain(found: LockRecord | None) -> str:
    return found.text if found else ""


def beaten(seen: LockRecord, beat: int) -> LockRecord:
    return msgspec.structs.replace(seen, lease=lease(beat))


def test_the_holder_is_the_lock_id_and_force_unlock_takes_it(kind: KubernetesKind) -> None:
    held = kind.open().create(record(lease=lease()))

    assert stored(kind)["spec"]["holderIdentity"] == held.id == held.handle


def test_a_release_keeps_the_object_and_what_others_wrote_in_it(kind: KubernetesKind) -> None:
    write(kind, {"team": "blue"}, {"leaseTransitions": 3})
    before = stored(kind)
    store = kind.open()
    store.read()
    store.delete(store.create(record(lease=lease())))

    after = stored(kind)

    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["annotations"] == {"team": "blue"}
    assert after["spec"] == {"leaseTransitions": 3}


def test_a_lease_that_outlived_its_lock_is_not_the_next_holders(kind: KubernetesKind) -> None:
    kind.open().create(record(lease=lease()))
    plain = record()
    write(kind, {INFO: plain.text}, {"holderIdentity": plain.id})

    found = kind.open().read()

    assert LEASE in stored(kind)["metadata"]["annotations"]
    assert found is not None and (found.id, found.lease) == (plain.id, None)


def test_an_object_without_a_holder_is_free_for_who_has_not_read_it(kind: KubernetesKind) -> None:
    write(kind, {"tfguard.io/lease": "old {}"}, {})

    held = kind.open().create(record(lease=lease()))

    found = kind.open().read()
    assert found is not None and (found.id, found.lease) == (held.id, held.lease)


def test_an_empty_holder_is_one_as_for_terraform(kind: KubernetesKind) -> None:
    write(kind, {}, {"holderIdentity": ""})

    with pytest.raises(Conflict):
        kind.open().create(record(lease=lease()))
    assert kind.open().read() is not None


def test_where_the_holder_is_not_the_infos_id_people_are_told_the_holder(kind: KubernetesKind) -> None:
    write(kind, {INFO: record().text}, {"holderIdentity": "other"})

    found = kind.open().read()

    assert found is not None and found.handle == "other"


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_lock_that_was_deleted_is_lost_and_not_brought_back(kind: KubernetesKind, is_made_anew: bool) -> None:
    store = kind.open()
    held = store.create(record(lease=lease()))
    kind.server.delete("leases", kind.spec.namespace, kind.spec.name)
    if is_made_anew:
        write(kind, {}, {})

    with pytest.raises(Conflict):
        store.replace(held, beaten(held, 2))
    with pytest.raises(Conflict):
        store.delete(held)
    assert store.read() is None


def test_the_queue_is_no_lease_of_the_lock_and_none_of_terraforms(kind: KubernetesKind) -> None:
    kind.open().write_queue(None, QueueRecord(text='{"tickets":[]}', revision=1))

    queue = kind.server.read("leases", kind.spec.namespace, f"{kind.spec.name}.tfguard")

    assert queue is not None and "labels" not in queue["metadata"]
    assert kind.server.read("leases", kind.spec.namespace, kind.spec.name) is None


def test_who_waits_is_woken_by_a_release(kind: KubernetesKind) -> None:
    held = (holder := kind.open()).create(record(lease=lease()))
    waiter = kind.open()
    waiter.read()
    release = threading.Timer(0.2, lambda: holder.delete(held))
    release.start()
    started_at = time.monotonic()

    waiter.await_change(patience(20), lambda: False)

    release.join()
    assert waiter.read() is None
    assert time.monotonic() - started_at < patience(10)


def test_a_wait_is_over_when_somebody_says_so_or_its_time_has_passed(kind: KubernetesKind) -> None:
    kind.open().create(record(lease=lease()))
    waiter = kind.open()
    waiter.read()
    over = threading.Event()
    threading.Timer(0.2, over.set).start()

    waiter.await_change(patience(60), over.is_set)
    waiter.await_change(0.1, lambda: False)

    assert over.is_set()


def test_a_watch_that_is_denied_is_said_so_that_one_looks_now_and_then(kind: KubernetesKind) -> None:
    kind.open().create(record(lease=lease()))
    with opened(kind.spec, token="without:watch/leases") as store:
        store.read()
        with pytest.raises(ActionDenied, match="denies watch"):
            store.await_change(10, lambda: False)
        found = tried({**store.attempts(), **store.queue_attempts(), **store.watch_attempts()})

    assert found.allowed == ("leases:get", "leases:create", "leases:update")
    assert found.denied_actions == ("leases:watch",)


def test_a_scratch_lock_leaves_nothing_behind(kind: KubernetesKind) -> None:
    with closing(kind.spec.scratch().open()) as store:
        store.delete(store.create(record(lease=lease())))

    assert kind.server.leases(kind.spec.namespace) == {}


@pytest.mark.parametrize("is_noticed", [False, True])
def test_what_workspace_delete_takes_away_is_no_loss(kind: KubernetesKind, is_noticed: bool) -> None:
    with closing(KubernetesStore(kind.spec.of_deleted())) as store:
        held = store.create(record(lease=lease()))
        kind.server.delete("leases", kind.spec.namespace, kind.spec.name)

        if is_noticed:
            with pytest.raises(Conflict):
                store.replace(held, beaten(held, 2))
            assert store.read() == held
        store.delete(held)
        assert store.read() is None


@pytest.mark.parametrize("is_seen", [False, True])
def test_what_was_made_anew_after_workspace_delete_is_anothers(kind: KubernetesKind, is_seen: bool) -> None:
    with closing(KubernetesStore(kind.spec.of_deleted())) as store:
        held = store.create(record(lease=lease()))
        kind.server.delete("leases", kind.spec.namespace, kind.spec.name)
        theirs = kind.open().create(record(lease=lease()))

        assert is_seen is False or plain(store.read()) == plain(theirs)
        with pytest.raises(Conflict):
            store.delete(held)

    assert plain(kind.open().read()) == plain(theirs)


# --- refusals -------------------------------------------------------------------------------------------------------


def opened(spec: KubernetesSpec, **access: Any) -> closing[KubernetesStore]:
    changed = msgspec.structs.replace(spec.kubernetes, **access)
    return closing(KubernetesStore(msgspec.structs.replace(spec, kubernetes=changed)))


def test_a_denial_names_verb_and_resource(kind: KubernetesKind) -> None:
    with opened(kind.spec, token="without:update/leases") as store:
        held = store.create(record(lease=lease()))
        with pytest.raises(ActionDenied, match="denies update on leases") as denied:
            store.replace(held, beaten(held, 2))

    assert denied.value.action == "leases:update"


def test_a_token_that_has_ended_is_no_denial_of_an_action(kind: KubernetesKind) -> None:
    with (
        opened(kind.spec, token="expired") as store,
        pytest.raises(StoreDenied, match="are not taken"),
    ):
        store.read()


def test_a_namespace_that_is_not_there_is_named(kind: KubernetesKind) -> None:
    spec = msgspec.structs.replace(kind.spec, namespace="missing-prod")
    with closing(KubernetesStore(spec)) as store, pytest.raises(StoreMisconfigured, match='"missing-prod" not found'):
        store.create(record(lease=lease()))


def test_a_record_that_is_too_long_is_said(kind: KubernetesKind) -> None:
    with pytest.raises(StoreMisconfigured, match="Too long"):
        kind.open().write_queue(None, QueueRecord(text='"' + "x" * 270_000 + '"', revision=1))


def test_an_answer_that_no_apiserver_gave_says_nothing(kind: KubernetesKind, s3: Any) -> None:
    for server in (s3.endpoint, "http://127.0.0.1:9"):
        with opened(kind.spec, host=server) as store, pytest.raises(StoreUnavailable):
            store.read()


def test_no_secret_is_shown_or_kept(kind: KubernetesKind) -> None:
    access = msgspec.structs.replace(kind.spec.kubernetes, token="geheim", password="auch geheim")
    spec = msgspec.structs.replace(kind.spec, kubernetes=access)

    assert "geheim" not in repr(spec)
    assert {"geheim", "auch geheim"} <= set(spec.secrets())
    assert b"geheim" not in msgspec.json.encode(spec.bare())
