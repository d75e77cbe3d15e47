"""From what Terraform's files and variables say to the lock in Azure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tfguard.backends.attributes import Attributes
from tfguard.backends.azurerm.locate import azure_lock
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.target import Target
from tfguard.backends.urls import parse_store_url
from tfguard.errors import ConfigError

GIVEN = {"storage_account_name": "acct", "container_name": "c", "key": "prod.tfstate"}


def found(workspace: str = "default", environ: dict[str, str] | None = None, **given: Any) -> Target:
    return azure_lock(Attributes({**GIVEN, **given}, "the cache"), Path("/work"), workspace, environ or {})


def access(environ: dict[str, str] | None = None, **given: Any) -> AzureAccess:
    (spec,) = found(environ=environ, **given).stores
    assert isinstance(spec, AzureSpec)
    return spec.azure


@pytest.mark.parametrize(("workspace", "key"), [("default", "prod.tfstate"), ("new", "prod.tfstateenv:new")])
def test_our_record_stands_in_a_folder_of_its_own(workspace: str, key: str) -> None:
    target = found(workspace)
    (spec,) = target.stores

    assert target.path == f"c/{key}"
    assert spec.place == f"azblob://acct/c/.tfguard/{key}.lock"
    assert target.child_locks and target.state_place.place == f"azblob://acct/c/{key}"


@pytest.mark.parametrize(
    ("key", "blob"),
    [("/a b/ü", "/a b/ü"), ("a%20b%2Fc", "a b/c"), ("a?b", "a"), ("a#b+c", "a#b+c"), ("50%", "50%")],
)
def test_a_key_is_what_terraform_asks_for(key: str, blob: str) -> None:
    """It takes it for what stands in an address."""
    target = found(key=key)
    (spec,) = target.stores

    assert isinstance(spec, AzureSpec)
    assert (target.path, spec.state_key, spec.key) == (f"c/{key}", blob, f".tfguard/{blob}.lock")
    assert target.state_place.place == f"azblob://acct/c/{blob}"


VARIABLES = {
    "access_key": "ARM_ACCESS_KEY",
    "sas_token": "ARM_SAS_TOKEN",
    "tenant": "ARM_TENANT_ID",
    "client": "ARM_CLIENT_ID",
    "client_secret": "ARM_CLIENT_SECRET",
    "subscription": "ARM_SUBSCRIPTION_ID",
    "oidc_token": "ARM_OIDC_TOKEN",
    "oidc_request_url": "ACTIONS_ID_TOKEN_REQUEST_URL",
    "oidc_request_token": "SYSTEM_ACCESSTOKEN",
}


@pytest.mark.parametrize(("name", "variable"), VARIABLES.items())
def test_what_the_backend_leaves_out_the_variables_say(name: str, variable: str) -> None:
    assert getattr(access({variable: "x"}), name) == "x"


def test_the_backend_wins_over_the_variables() -> None:
    assert access({"ARM_ACCESS_KEY": "x", "ARM_USE_AZUREAD": "true"}, access_key="y", use_azuread_auth=False) == access(
        access_key="y"
    )
    assert access({"ARM_USE_CLI": "false"}).use_cli is False
    assert access(sas_token="?sig=x").sas_token == "sig=x"


def test_aks_says_who_a_pod_is() -> None:
    pod = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": "/var/token"}

    made = access({**pod, "ARM_USE_AKS_WORKLOAD_IDENTITY": "true"})

    assert (made.tenant, made.client, made.oidc_token_file) == ("t", "c", "/var/token")
    assert access(pod) == access()


@pytest.mark.parametrize(
    ("cloud", "suffix"), [("public", "core.windows.net"), ("usgovernment", "core.usgovcloudapi.net")]
)
def test_each_cloud_has_its_own_places(cloud: str, suffix: str) -> None:
    assert access(environment=cloud).suffix == suffix


WRONG: dict[str, dict[str, Any]] = {
    "no account": {"storage_account_name": None},
    "no container": {"container_name": ""},
    "no key": {"key": None},
    "mars": {"environment": "mars"},
    "no host": {"metadata_host": "https://x"},
    "a number": {"access_key": 1},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_cannot_be_used_is_said_in_two_lines(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        found(**wrong)

    assert [len(line) <= 120 for line in str(refused.value).splitlines()] == [True, True]


def test_a_container_may_hold_locks_of_the_users_own_names() -> None:
    spec = parse_store_url("azblob://acct/c/locks", "prod/network", {"ARM_ACCESS_KEY": "x"})

    assert isinstance(spec, AzureSpec)
    assert (spec.container, spec.key, spec.child_locks) == ("c", "locks/prod/network.lock", False)


@pytest.mark.parametrize("url", ["azblob://acct", "azblob://acct/", "azblob:///c", "azblob://acct/c?x=1"])
def test_a_url_that_names_no_container_says_what_was_expected(url: str) -> None:
    with pytest.raises(ConfigError, match="Expected azblob://ACCOUNT/CONTAINER/PREFIX"):
        parse_store_url(url, "prod", {})


def test_a_spec_crosses_the_socket_as_it_is_and_a_file_without_its_secrets() -> None:
    target = found(access_key="hush")

    assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target
    assert "hush" in target.secrets()
    assert b"hush" not in msgspec.json.encode([spec.bare() for spec in target.stores])
