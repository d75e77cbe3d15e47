"""Terraform's own lock on a state's blob, as a real Azure's emulator keeps it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import Azure
from tests.contract.kinds import record
from tfguard.backends.azurerm.client import Client
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec, AzureState
from tfguard.backends.azurerm.store import StateLease, holder_of
from tfguard.errors import ActionDenied, Conflict, TfguardError
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.lockinfo import LockInfo

pytestmark = pytest.mark.emulator


@dataclass
class Place:
    client: Client
    container: str
    access: AzureAccess

    def lease(self) -> StateLease:
        return StateLease(self.client, "prod")


@pytest.fixture
def place(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in azure.environ.items():
        monkeypatch.setenv(name, value)
    container = azure.container()
    with closing(azure.client(container)) as client:
        yield Place(client, container, AzureAccess(account=azure.account, access_key=azure.key))


def info() -> LockInfo:
    made = record().info
    assert made is not None
    return made


def test_a_lock_is_taken_as_terraform_does_and_freed_by_its_id_alone(place: Place) -> None:
    lease, ours, other = place.lease(), info(), info()
    place.client.write("prod", b"{}")
    place.client.annotate("prod", {"theirs": "kept"}, {})

    lease.take(ours)
    with pytest.raises(Conflict):
        lease.take(other)
    with pytest.raises(Conflict):
        lease.free(other.id)
    assert lease.read() == ours
    with pytest.raises(Conflict):
        place.client.write("prod", b"late")
    lease.free(ours.id)

    assert lease.read() is None
    about = place.client.about("prod")
    assert about is not None and dict(about.metadata) == {"theirs": "kept"}
    with pytest.raises(Conflict):
        lease.free(ours.id)


def test_where_there_is_no_state_yet_its_blob_is_made_first(place: Place) -> None:
    lease, ours = place.lease(), info()
    assert lease.read() is None

    lease.take(ours)

    assert lease.read() == ours


def test_a_blob_in_which_nothing_is_yet_is_no_state(place: Place) -> None:
    """Terraform makes it empty, and leases that."""
    lease = place.lease()
    found = [lease.has_state()]
    for body in (b"", b"{}"):
        place.client.write("prod", body)
        found.append(lease.has_state())

    assert found == [False, False, True]


def test_a_lease_that_names_nobody_is_somebodys_and_can_be_broken_as_long_as_it_does_not(place: Place) -> None:
    lease, ours = place.lease(), info()
    place.client.write("prod", b"{}")
    place.client.acquire("prod", ours.id)

    found = lease.read()
    lease.free("?")
    freed = lease.read()
    lease.take(ours)

    assert found is not None and found.id == "?"
    assert freed is None
    with pytest.raises(Conflict):
        lease.free("?")
    assert lease.read() == ours


def test_a_lease_that_says_whose_it_is_right_before_it_is_broken_is_kept(place: Place) -> None:
    ours = info()
    place.client.write("prod", b"{}")
    place.client.acquire("prod", ours.id)
    seen = place.client.about("prod")
    assert seen is not None
    place.client.annotate("prod", {"said": "since"}, {"x-ms-lease-id": ours.id})

    with pytest.raises(Conflict):
        place.client.break_lease("prod", seen.etag)

    about = place.client.about("prod")
    assert about is not None and about.is_leased


def signature(place: Place, permissions: str) -> str:
    """A shared access signature for the container, as "Create a service SAS" has it."""
    ends, version = "2099-01-01T00:00:00Z", "2021-12-02"
    resource = f"/blob/{place.access.account}/{place.container}"
    text = "\n".join([permissions, "", ends, resource, "", "", "", version, "c", *[""] * 7])
    key = base64.b64decode(place.access.access_key)
    signed = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    return urlencode({"sv": version, "sr": "c", "sp": permissions, "se": ends, "sig": signed})


def test_who_may_not_delete_lets_go_of_a_lock_by_overwriting_it(place: Place) -> None:
    """A signature for Terraform's own needs may write and not delete."""
    access = AzureAccess(account=place.access.account, sas_token=signature(place, "racwl"))
    spec = AzureSpec(container=place.container, key=".tfguard/prod.lock", azure=access, state_key="prod")
    with closing(spec.open()) as store, closing(spec.open()) as other:
        for _ in range(2):
            held = store.create(record())
            with pytest.raises(Conflict):
                other.create(record())
            beaten = store.replace(held, held)
            with pytest.raises(Conflict):
                store.delete(held)
            store.delete(beaten)
            assert other.read() is None
            with pytest.raises(Conflict):
                store.delete(beaten)

        assert place.client.read(spec.key, 100) is not None, "it stays"
        assert ActionDenied in [type(error) for error in denials(store)]


def test_a_record_of_which_somebodys_backup_has_made_a_snapshot_goes_with_it(place: Place) -> None:
    spec = AzureSpec(container=place.container, key=".tfguard/prod.lock", azure=place.access, state_key="prod")
    with closing(spec.open()) as store:
        held = store.create(record())
        place.client._ask("PUT", "snapshotting", spec.key, query={"comp": "snapshot"})

        store.delete(held)

        assert store.read() is None


def denials(store: Any) -> Iterator[Exception]:
    """What is said to the one thing that may not be done."""
    for attempt in store._guard.deletion_attempt().values():
        try:
            attempt()
        except TfguardError as error:
            yield error


@pytest.mark.parametrize("encoded", ["", "?", "e30=", "AAAA", "/" * 9])
def test_metadata_that_cannot_be_read_name_somebody(encoded: str) -> None:
    assert holder_of(encoded).id == "?"


def test_the_locks_of_a_container_are_ours_and_plain_ones(place: Place) -> None:
    from tfguard.backends.azurerm.backend import locks_beside

    spec = AzureSpec(container=place.container, key=".tfguard/a.lock", azure=place.access, state_key="a")
    with closing(spec.open()) as store:
        assert isinstance(store, GuardedStore)
        store.create(record())
    for key in ("free", "plain"):
        place.client.write(key, b"{}")
    StateLease(place.client, "plain").take(info())

    found = {name: spec.place for name, spec in locks_beside(spec, None)}

    assert set(found) == {f"{place.container}/a", f"{place.container}/plain"}
    assert found[f"{place.container}/plain"].endswith("/.tfguard/plain.lock")


def test_copies_of_a_state_are_kept_beside_our_record_and_found_again(place: Place, tmp_path) -> None:
    state = AzureState(container=place.container, key="prod", azure=place.access)
    file = tmp_path / "errored.tfstate"
    file.write_bytes(b'{"version": 4}')
    place.client.write("prod", b"the state")

    kept = state.keep_copy(str(file), "some-id")

    assert state.find_copies() == [kept] == [f"azblob://tfacct/{place.container}/.tfguard/prod.errored.some-id"]
    assert (state.has_copy(kept), state.has_copy(f"{kept}2")) == (True, False)
    assert (state.read(100), state.server_date() is None) == (b"the state", False)
