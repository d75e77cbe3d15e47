"""A workspace's lock: our ID in its reason, and whom it is left alone for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.contract.kinds import lease, record
from tests.support.authority import Authority
from tests.support.hcp_server import Hcp, Workspace, hcp_serving
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


@pytest.mark.parametrize("reason", ["Locked by Terraform", "", "tfguard is great: really", "for \x1b[31mmaintenance"])
def test_anybody_elses_lock_is_shown_and_not_unlocked_as_ours(store: Any, workspace: Workspace, reason: str) -> None:
    workspace.locked_by, workspace.reason = "user-bob", reason

    found = store.read()
    with pytest.raises(Conflict):
        store.delete(record())
    with pytest.raises(Conflict):
        store.create(record())

    assert (found.id, found.lease, found.info.who) == ("acme/app", None, "user-bob")
    assert "\x1b" not in found.info.info
    assert workspace.locked_by == "user-bob"


def test_what_an_operator_unlocks_by_its_name_is_forced(store: Any, workspace: Workspace) -> None:
    workspace.locked_by, workspace.reason = "user-bob", "Locked by Terraform"

    store.delete(store.read())

    assert workspace.locked_by == ""


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
