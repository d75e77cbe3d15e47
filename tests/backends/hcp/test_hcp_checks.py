"""What `doctor` says of a workspace of HCP Terraform: one line a check, no lock taken, no token shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.hcp_server import Hcp, hcp_serving
from tfguard.backends.hcp.checks import CHECKS
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.target import Target
from tfguard.errors import StoreDenied, StoreMisconfigured


@pytest.fixture
def hcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hcp]:
    with hcp_serving(Authority(tmp_path)) as hcp:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        monkeypatch.setenv("HOME", str(tmp_path))
        hcp.add("app")
        yield hcp


ALL = {**CHECKS.before, **CHECKS.rights, **CHECKS.places}


def found(hcp: Hcp, check: str, token: str = "token-of-ana", workspace: str = "app") -> tuple[str, str, str]:
    spec = HcpSpec(organization="acme", workspace=workspace, hcp=HcpAccess(host=hcp.host, token=token))
    target = Target(label="acme/app", path="p", backend="cloud", workspace="app", stores=(spec,))
    lock: Any = SimpleNamespace(target=target, again="tfguard", known={})
    answer = ALL[check](lock)
    assert answer is not None
    return answer


def test_a_healthy_workspace_is_said_to_be_so_and_is_never_locked(hcp: Hcp) -> None:
    answers = {name: found(hcp, name) for name in ("token", "API", "workspace", "permissions")}

    assert {mark for mark, _, _ in answers.values()} == {"ok"}, answers
    assert "`token` of the backend" in answers["token"][1]
    assert "token-of-ana" not in str(answers)
    assert "speaks version 2.6" in answers["API"][1]
    assert not [line for line in hcp.log if "actions/" in line]


def test_the_workspace_is_asked_for_once_for_all_checks(hcp: Hcp) -> None:
    spec = HcpSpec(organization="acme", workspace="app", hcp=HcpAccess(host=hcp.host, token="token-of-ana"))
    target = Target(label="acme/app", path="p", backend="cloud", workspace="app", stores=(spec,))
    lock: Any = SimpleNamespace(target=target, again="tfguard", known={})

    answers = [check(lock) for check in ALL.values()]

    assert [answer[0] for answer in answers if answer] == ["ok"] * len(ALL)
    assert len([line for line in hcp.log if line.endswith("/workspaces/app")]) == 1


def test_the_token_is_said_to_be_where_it_was_found(hcp: Hcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "rc"
    config.write_text(f'credentials "{hcp.host}" {{\n  token = "token-of-bob"\n}}\n')
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(config))

    assert found(hcp, "token", token="") == ("ok", f"there is one for {hcp.host} ({config})", "")


def test_without_a_token_the_check_says_how_to_get_one(hcp: Hcp) -> None:
    with pytest.raises(StoreDenied, match="terraform login"):
        found(hcp, "token", token="")


@pytest.mark.parametrize(
    ("permissions", "mark", "says"),
    [
        ({"can-lock": False}, "failure", "can-lock: denied in acme/app"),
        ({"can-unlock": False, "can-lock": False}, "failure", "can-lock, can-unlock: denied"),
        ({"can-create-state-versions": False}, "failure", "can-create-state-versions: denied"),
        ({"can-force-unlock": False}, "ok", "to unlock what somebody else has locked is not"),
        (None, "warning", "does not say what our token may do"),
    ],
)
def test_what_the_token_may_not_do_is_named(
    hcp: Hcp, permissions: dict[str, bool] | None, mark: str, says: str
) -> None:
    hcp.workspaces["app"].permissions = permissions

    answer = found(hcp, "permissions")

    assert answer[0] == mark
    assert says in answer[1]
    assert bool(answer[2]) == (mark != "ok")


@pytest.mark.parametrize(
    ("version", "mark"), [("2.5", "ok"), ("3.0", "ok"), ("2.10", "ok"), ("2.4", "failure"), ("", "warning")]
)
def test_an_api_too_old_for_terraform_fails(hcp: Hcp, version: str, mark: str) -> None:
    hcp.api_version = version

    assert found(hcp, "API")[0] == mark


def test_a_workspace_whose_mode_is_another_is_said_to_be_executed_here_all_the_same(hcp: Hcp) -> None:
    hcp.workspaces["app"].mode = "remote"

    assert "though its mode is remote" in found(hcp, "workspace")[1]


def test_a_workspace_that_is_missing_fails(hcp: Hcp) -> None:
    with pytest.raises(StoreMisconfigured, match=r"workspaces/other"):
        found(hcp, "workspace", workspace="other")
