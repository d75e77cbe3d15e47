"""A workspace's lock: our ID in its reason, and whom it is left alone for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.kinds import lease, record
from tests.support.authority import Authority
from tests.support.hcp_server import Hcp, Workspace, hcp_serving
from tfguard.backends.hcp.backend import locks_beside
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.net.transport import Response
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable


@pytest.fixture
def hcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hcp]:
    with hcp_serving(Authority(tmp_path)) as hcp:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        yield hcp


@pytest.fixture
def workspace(hcp: Hcp) -> Workspace:
    return hcp.add("app")


@pytest.fixture
def store(hcp: Hcp, workspace: Workspace) -> Iterator[Any]:
    access = HcpAccess(host=hcp.host, token="token-of-ana")
    with closing(HcpSpec(organization="acme", workspace=workspace.name, hcp=access).open()) as store:
        yield store


def test_who_holds_it_stands_in_the_reason_and_is_found_again(store: Any, workspace: Workspace) -> None:
    before = store.read()
    mine = store.create(record(lease=lease()))
    reason = workspace.reason

    found = store.read()
    store.delete(found)

    assert before is None
    assert reason == f'tfguard {mine.id}: ana@ci-7, apply, run 4812, https://ci/"tfguard":{{}}'
    assert (found.id, found.lease, found.info.who, found.handle) == (mine.id, None, "ana@ci-7", "acme/app")
    assert workspace.locked_by == ""


def test_a_second_lock_conflicts_though_the_token_is_the_same(store: Any) -> None:
    store.create(record())

    with pytest.raises(Conflict):
        store.create(record())


@pytest.mark.parametrize(
    ("reason", "who"),
    [
        ("Locked by Terraform", "user-bob"),
        ("", "user-bob"),
        ("tfguard is great: really", "user-bob: tfguard is great: really"),
        ("for \x1b[31mmaintenance", "user-bob: for \ufffd[31mmaintenance"),
    ],
)
def test_anybody_elses_lock_is_shown_with_its_reason_and_not_unlocked_as_ours(
    store: Any, workspace: Workspace, reason: str, who: str
) -> None:
    workspace.locked_by, workspace.reason = "user-bob", reason

    found = store.read()
    with pytest.raises(Conflict):
        store.delete(record())
    with pytest.raises(Conflict):
        store.create(record())

    assert (found.id, found.lease, found.info.who) == ("acme/app", None, who)
    assert "\x1b" not in found.info.info
    assert workspace.locked_by == "user-bob"


def test_what_an_operator_unlocks_by_its_name_is_forced(store: Any, workspace: Workspace) -> None:
    workspace.locked_by, workspace.reason = "user-bob", "Locked by Terraform"

    store.delete(store.read())

    assert workspace.locked_by == ""


def test_an_operator_unlocks_what_another_token_holds_for_a_run_of_ours_by_force(
    store: Any, hcp: Hcp, workspace: Workspace
) -> None:
    theirs = HcpAccess(host=hcp.host, token="token-of-bob")
    with closing(HcpSpec(organization="acme", workspace=workspace.name, hcp=theirs).open()) as other:
        other.create(record(lease=lease()))

    store.delete(store.read())

    assert workspace.locked_by == ""
    assert [line.rpartition("/")[2] for line in hcp.log if "actions/" in line] == ["lock", "unlock", "force-unlock"]


def test_an_unlock_that_comes_while_a_state_is_still_being_saved_is_made_again_and_never_by_force(
    store: Any, hcp: Hcp, workspace: Workspace
) -> None:
    mine = store.create(record())
    workspace.pending = 1

    with pytest.raises(StoreUnavailable, match="still saving"):
        store.delete(mine)
    store.delete(mine)

    assert workspace.locked_by == ""
    assert not [line for line in hcp.log if "force" in line]


def test_until_when_and_why_it_is_held_by_hand_stands_in_the_reason(store: Any, workspace: Workspace) -> None:
    by_hand = msgspec.structs.replace(lease(), hold_until="2026-11-20T12:00:00Z", reason="moving the subnets")

    store.create(record(lease=by_hand))

    assert workspace.reason.endswith(", until 2026-11-20T12:00:00Z: moving the subnets")


def test_a_release_spares_the_next_holder(store: Any, workspace: Workspace) -> None:
    mine = store.create(record())
    store.delete(mine)
    theirs = store.create(record())

    with pytest.raises(Conflict):
        store.delete(mine)

    assert theirs.id in workspace.reason


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", StoreDenied),
        (403, b"", ActionDenied),
        (404, b"", StoreMisconfigured),
        (302, b"", StoreMisconfigured),
        (429, b"", StoreUnavailable),
        (503, b"", StoreUnavailable),
        (200, b"<html>Welcome</html>", StoreUnavailable),
        (200, b'{"data":{}}', StoreUnavailable),
        (200, b"[" * 9000, StoreUnavailable),
    ],
)
def test_what_an_answer_becomes(store: Any, status: int, body: bytes, kind: type[Exception]) -> None:
    store.read()
    store._client.transport.send = lambda *_: Response(status, {}, body)

    with pytest.raises(kind):
        store.read()


def test_a_token_goes_to_its_own_host_alone(store: Any) -> None:
    elsewhere = Response(200, {}, b'{"tfe.v2":"https://example.com/api/v2/"}')
    asked = []
    store._client.transport.send = lambda request, _: asked.append(request.url) or elsewhere

    with pytest.raises(StoreUnavailable, match="is not HCP Terraform"):
        store.read()

    assert len(asked) == 1


def test_the_locked_workspaces_of_an_organization_are_listed_page_by_page(hcp: Hcp) -> None:
    for number in range(5):
        hcp.add(f"app-{number}")
    for number in (0, 3, 4):
        hcp.workspaces[f"app-{number}"].locked_by = "user-bob"
    spec = HcpSpec(organization="acme", workspace="app-1", hcp=HcpAccess(host=hcp.host, token="token-of-ana"))

    found = list(locks_beside(spec, None))

    assert [name for name, _ in found] == ["acme/app-0", "acme/app-3", "acme/app-4"]
    with closing(found[0][1].open()) as store:
        held: Any = store.read()
        assert held.info.who == "user-bob"
