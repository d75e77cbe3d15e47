"""From the gcs backend's attributes, and Terraform's variables, to the lock that Terraform would take."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Gcs
from tests.contract.kinds import lease, record
from tfguard.backends import load
from tfguard.backends.attributes import Attributes
from tfguard.backends.gcs.locate import gcs_lock, object_name
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec, GcsState
from tfguard.backends.target import Target, without_secrets
from tfguard.backends.urls import parse_store_url
from tfguard.errors import ConfigError
from tfguard.wire import Unpacker, pack

HERE = Path("/work")


def target(config: dict[str, object], workspace: str = "default", **environ: str) -> Target:
    return gcs_lock(Attributes({"bucket": "b", **config}, "the cache"), HERE, workspace, environ)


def access(config: dict[str, object], **environ: str) -> GcsAccess:
    spec = target(config, **environ).stores[0]
    assert isinstance(spec, GcsSpec)
    return spec.gcs


@pytest.mark.parametrize(
    ("prefix", "workspace", "name"),
    [
        ("", "default", "default.tflock"),
        ("app", "default", "app/default.tflock"),
        ("/app/", "prod", "app/prod.tflock"),
        ("a//b/./c", "default", "a/b/c/default.tflock"),
        ("a/../b", "default", "b/default.tflock"),
    ],
)
def test_an_object_is_called_as_terraform_calls_it(prefix: str, workspace: str, name: str) -> None:
    assert object_name(prefix, workspace, ".tflock") == name


def test_lock_state_and_probe_of_a_workspace_belong_together() -> None:
    found = target({"prefix": "app"}, "prod")

    assert (found.label, found.path) == ("b/app/prod.tfstate", "gs://b/app/prod.tflock")
    assert [spec.key for spec in found.stores if isinstance(spec, GcsSpec)] == ["app/prod.tflock"]
    assert isinstance(found.state, GcsState)
    assert found.state.place == "gs://b/app/prod.tfstate"
    assert found.probe is not None and found.probe.workspace == "prod"
    assert target({}).probe is not None, "the default workspace is not there from the start either"


def test_a_target_crosses_the_socket_as_it_is() -> None:
    found = target({"prefix": "app", "encryption_key": "abc"})

    assert Unpacker(Target).unpack(pack(found)) == found


ORDER: dict[str, tuple[dict[str, object], dict[str, str], GcsAccess]] = {
    "nothing": ({}, {}, GcsAccess()),
    "token": ({"access_token": "a"}, {"GOOGLE_OAUTH_ACCESS_TOKEN": "b"}, GcsAccess(access_token="a")),
    "token of the environment": (
        {"credentials": "{}"},
        {"GOOGLE_OAUTH_ACCESS_TOKEN": "b"},
        GcsAccess(access_token="b"),
    ),
    "credentials": ({"credentials": "{1}"}, {"GOOGLE_CREDENTIALS": "{2}"}, GcsAccess(credentials="{1}")),
    "the backend's variable first": (
        {},
        {"GOOGLE_CREDENTIALS": "{2}", "GOOGLE_BACKEND_CREDENTIALS": "{3}"},
        GcsAccess(credentials="{3}"),
    ),
    "impersonation": (
        {"impersonate_service_account_delegates": ["d"]},
        {"GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": "x@y"},
        GcsAccess(impersonate="x@y", delegates=("d",)),
    ),
    "endpoint": (
        {},
        {"GOOGLE_STORAGE_CUSTOM_ENDPOINT": "http://h/storage/v1/", "STORAGE_EMULATOR_HOST": "other"},
        GcsAccess(endpoint="http://h/storage/v1/"),
    ),
    "an emulator": ({}, {"STORAGE_EMULATOR_HOST": "h:1"}, GcsAccess(endpoint="http://h:1/storage/v1/")),
}


@pytest.mark.parametrize(("config", "environ", "expected"), ORDER.values(), ids=ORDER)
def test_google_is_reached_in_terraforms_order(
    config: dict[str, object], environ: dict[str, str], expected: GcsAccess
) -> None:
    assert access(config, **environ) == expected


def test_a_credentials_file_counts_from_where_terraform_runs(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")

    found = gcs_lock(Attributes({"bucket": "b", "credentials": "key.json"}, "the cache"), tmp_path, "default", {})

    assert [spec.gcs.credentials for spec in found.stores if isinstance(spec, GcsSpec)] == [str(tmp_path / "key.json")]


def test_secrets_are_named_and_stay_out_of_files() -> None:
    found = target({"access_token": "tok", "encryption_key": "csek"})

    bare, is_less = without_secrets(found)

    assert set(found.secrets()) == {"tok", "csek"}
    assert is_less
    assert b"tok" not in pack(bare) and b"csek" not in pack(bare)
    assert "tok" not in repr(found) and "csek" not in repr(found)


def test_no_bucket_is_said() -> None:
    with pytest.raises(ConfigError, match="no `bucket`"):
        gcs_lock(Attributes({}, "the cache"), HERE, "default", {})


def test_a_url_names_a_bucket_and_a_prefix() -> None:
    spec = parse_store_url("gs://b/locks", "prod/network", {"GOOGLE_OAUTH_ACCESS_TOKEN": "t"})

    assert spec == GcsSpec(bucket="b", key="locks/prod/network.tflock", gcs=GcsAccess(access_token="t"))
    assert load("gcs").fetch == "gcloud storage cp"
    with pytest.raises(ConfigError, match="names no bucket"):
        parse_store_url("gs:///locks", "x", {})


@pytest.mark.emulator
def test_a_lock_is_known_by_its_generation_unless_it_is_a_guard(gcs: Gcs) -> None:
    access = GcsAccess(access_token="token", endpoint=gcs.endpoint)
    spec = GcsSpec(bucket=gcs.bucket(), key="app.tflock", gcs=access)
    with closing(spec.open()) as store, closing(spec.as_guard().open()) as guard:
        created = store.create(record(lease=lease()))

        read = guard.read()

    assert created.handle.isdecimal()
    assert read is not None and read.handle == read.id
