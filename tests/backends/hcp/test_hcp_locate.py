"""From a cloud block, or the remote backend, to a workspace's lock; and the token for a host."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from platform import machine
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.hcp_server import Hcp, hcp_serving
from tfguard.backends import locate
from tfguard.backends.hcp.spec import HcpSpec
from tfguard.backends.hcp.tokens import find_token
from tfguard.backends.target import PlannedBackend, Target, Unlockable, without_secrets
from tfguard.errors import ConfigError, StoreDenied, StoreMisconfigured

HERE = Path("/srv/app")


@pytest.fixture
def hcp(tmp_path: Path) -> Iterator[Hcp]:
    with hcp_serving(Authority(tmp_path)) as hcp:
        yield hcp


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(tmp_path / "authority.pem"), "HOME": str(tmp_path)}


def found(
    hcp: Hcp, environ: dict[str, str], kind: str = "cloud", workspace: str = "default", **settings: Any
) -> Target | Unlockable:
    given = {"hostname": hcp.host, "organization": "acme", "token": "token-of-ana", **settings}
    return locate(PlannedBackend(kind, given, workspace), HERE, workspace, environ, source="the cache")


@pytest.mark.parametrize(
    ("kind", "workspaces", "local", "name"),
    [
        ("cloud", {"name": "app-prod", "tags": None}, "app-prod", "app-prod"),
        ("cloud", {"name": None, "tags": {"value": ["x"], "type": ["tuple", ["string"]]}}, "app-prod", "app-prod"),
        ("remote", [{"name": "app-prod", "prefix": None}], "default", "app-prod"),
        ("remote", [{"name": None, "prefix": "app-"}], "prod", "app-prod"),
    ],
)
def test_the_workspace_is_called_as_terraform_calls_it_there(
    hcp: Hcp, environ: dict[str, str], kind: str, workspaces: Any, local: str, name: str
) -> None:
    hcp.add(name)

    target = found(hcp, environ, kind, local, workspaces=workspaces)

    assert isinstance(target, Target)
    (only,) = target.stores
    assert isinstance(only, HcpSpec)
    assert (only.organization, only.workspace, target.label) == ("acme", name, f"acme/{name}")


@pytest.mark.parametrize(("mode", "is_held"), [("local", True), ("remote", False), ("agent", False)])
def test_only_what_is_executed_here_is_locked_here(hcp: Hcp, environ: dict[str, str], mode: str, is_held: bool) -> None:
    hcp.add("app", mode)

    target = found(hcp, environ, workspaces={"name": "app"})
    forced = found(hcp, {**environ, "TF_FORCE_LOCAL_BACKEND": "1"}, workspaces={"name": "app"})

    assert isinstance(target, Target) is is_held
    if isinstance(target, Unlockable):
        assert target.is_told and not target.needs_lock
    assert isinstance(forced, Target)


def test_what_is_missing_comes_from_the_environment(hcp: Hcp, environ: dict[str, str]) -> None:
    hcp.add("app")
    environ |= {"TF_CLOUD_HOSTNAME": hcp.host, "TF_CLOUD_ORGANIZATION": "acme"}

    target = found(hcp, environ, workspace="app", hostname=None, organization=None, workspaces=None)

    assert isinstance(target, Target)
    assert target.path == f"https://{hcp.host}/acme/app"


def test_a_workspace_that_is_not_there_is_said_to_be_missing(hcp: Hcp, environ: dict[str, str]) -> None:
    with pytest.raises(StoreMisconfigured, match="knows no organizations/acme/workspaces/app"):
        found(hcp, environ, workspaces={"name": "app"})


@pytest.mark.parametrize("settings", [{"organization": None}, {"hostname": "h/../x"}, {"hostname": "a b"}])
def test_what_names_no_place_is_refused(hcp: Hcp, environ: dict[str, str], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        found(hcp, environ, workspaces={"name": "app"}, **settings)


def test_a_token_that_is_not_accepted_is_said_to_be_so_and_never_shown(hcp: Hcp, environ: dict[str, str]) -> None:
    hcp.add("app")
    target = found(hcp, environ, workspaces={"name": "app"})
    assert isinstance(target, Target)
    bare, is_stripped = without_secrets(target)

    with pytest.raises(StoreDenied, match="does not accept this token") as denied:
        found(hcp, environ, workspaces={"name": "app"}, token="geheim")

    assert "geheim" not in str(denied.value)
    assert is_stripped and "token-of-ana" in target.secrets()
    assert "token-of-ana" not in repr(target) + repr(bare)


# --- the token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["", 'credentials_helper "store" {}'])
def test_a_home_that_may_not_be_looked_into_has_no_token(tmp_path: Path, config: str) -> None:
    environ = {"HOME": f"/{'x' * 300}"}  # Nobody may ask for it, root included: the name is too long.
    if config:
        (tmp_path / "rc").write_text(config)
        environ["TF_CLI_CONFIG_FILE"] = str(tmp_path / "rc")

    with pytest.raises(StoreDenied, match=r"There is no token for app\.terraform\.io"):
        find_token("app.terraform.io", "", environ)


def test_the_token_is_the_backends_then_the_environments_then_that_of_the_files(tmp_path: Path) -> None:
    files = tmp_path / ".terraform.d"
    helper = helper_at(files / "plugins" / "terraform-credentials-vault", "helped")
    environ = {"HOME": str(tmp_path), "PATH": "/bin:/usr/bin"}
    host, tokens = "h-1.example.com", []

    (tmp_path / ".terraformrc").write_text('credentials_helper "vault" {\n  args = []\n}\n')
    tokens.append(find_token(host, "", environ).text)
    blocks = ('# x\ncredentials "other" {\n token = "o"\n}\n', f'credentials "{host}" {{\n  token = "written"\n}}\n')
    (tmp_path / ".terraformrc").write_text("".join(blocks))
    tokens.append(find_token(host, "", environ).text)
    (files / "credentials.tfrc.json").write_text(json.dumps({"credentials": {host: {"token": "stored"}}}))
    tokens.append(find_token(host, "", environ).text)
    (files / "z.tfrc").write_text(f'"credentials" "{host}" {{ token = "last" }}')
    tokens.append(find_token(host, "", environ).text)
    environ["TF_TOKEN_h__1_example_com"] = "set"
    tokens.append(find_token(host, "", environ).text)
    tokens.append(find_token(host, "given", environ).text)

    assert helper.is_file()
    assert tokens == ["helped", "written", "stored", "last", "set", "given"]


def test_where_a_variable_names_terraforms_configuration_no_other_file_is_asked(tmp_path: Path) -> None:
    (tmp_path / ".terraform.d").mkdir()
    (tmp_path / ".terraform.d" / "credentials.tfrc.json").write_text('{"credentials": {"h": {"token": "stored"}}}')
    named = tmp_path / "rc"
    named.write_text(' {"credentials": {"other": {"token": "t"}}}')
    environ = {"HOME": str(tmp_path), "TF_CLI_CONFIG_FILE": str(named)}

    assert find_token("other", "", environ) == ("t", str(named))
    with pytest.raises(StoreDenied, match="There is no token for h"):
        find_token("h", "", environ)


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"TF_TOKEN_H__1_EXAMPLE_COM": "t"}, ""),
        ({"TF_TOKEN_h-1.example.com": "t"}, ""),
        ({}, 'credentials "H-1.Example.com" {\n token = "t"\n}'),
        ({}, '{"credentials": {"h-1.example.com:443": {"token": "t"}}}'),
    ],
)
def test_a_host_is_the_same_however_it_is_written(tmp_path: Path, environ: dict[str, str], text: str) -> None:
    (tmp_path / ".terraformrc").write_text(text)

    assert find_token("h-1.EXAMPLE.com", "", {"HOME": str(tmp_path), **environ}).text == "t"


def test_an_empty_variable_is_a_token_that_is_none_as_for_terraform(tmp_path: Path) -> None:
    (tmp_path / ".terraformrc").write_text('credentials "h" { token = "t" }')

    with pytest.raises(StoreDenied, match=r"The token for h is empty \(TF_TOKEN_h\)"):
        find_token("h", "", {"HOME": str(tmp_path), "TF_TOKEN_h": ""})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('credentials_helper "x" {\n args = ["--as", "ci job"]\n}', "terraform-credentials-x_v1.10.0"),
        ('{"credentials_helper": {"x": {"args": ["--as", "ci job"]}}}', f"{sys.platform}_*/terraform-credentials-x"),
    ],
)
def test_a_helper_is_asked_with_its_words_and_is_the_newest(tmp_path: Path, text: str, name: str) -> None:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine(), machine())
    plugins = tmp_path / ".terraform.d" / "plugins"
    helper_at(plugins / name.replace("*", arch), "$1|$2|$3")
    helper_at(plugins / "terraform-credentials-xy", "another")
    if "_v" in name:
        helper_at(plugins / "terraform-credentials-x_v1.9.0", "old")
    (tmp_path / ".terraformrc").write_text(text)

    found = find_token("h", "", {"HOME": str(tmp_path), "PATH": "/bin:/usr/bin"})

    assert found.text == "--as|ci job|get"


def helper_at(path: Path, says: str) -> Path:
    """Write a credentials helper that says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nprintf \'{{"token":"%s"}}\' "{says}"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "text", ["", 'credentials "h" {', 'credentials "h" { token }', 'credentials "h" { token = }', "\xff{"]
)
def test_without_a_token_it_is_said_where_one_is_looked_for(tmp_path: Path, text: str) -> None:
    config = tmp_path / "rc"
    config.write_bytes(text.encode("latin-1"))

    with pytest.raises(StoreDenied, match="terraform login h"):
        find_token("h", "", {"HOME": str(tmp_path), "TF_CLI_CONFIG_FILE": str(config)})
