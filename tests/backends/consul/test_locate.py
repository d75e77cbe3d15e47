"""From the backend's attributes and the environment to the lock that Terraform would take, and how it is reached."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tfguard.backends import locate
from tfguard.backends.consul.client import Client
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec, ConsulState
from tfguard.backends.spec import ChildSettings
from tfguard.backends.target import PlannedBackend, Target, Unlockable, without_secrets
from tfguard.backends.urls import parse_store_url
from tfguard.errors import ConfigError, StoreMisconfigured

HERE = Path("/srv/app")


def found(environ: dict[str, str] | None = None, workspace: str = "default", **settings: object) -> Target | Unlockable:
    config = {"path": "app/prod", **settings}
    return locate(PlannedBackend("consul", config, workspace), HERE, workspace, environ or {}, source="the cache")


def spec(environ: dict[str, str] | None = None, **settings: object) -> ConsulSpec:
    target = found(environ, **settings)
    assert isinstance(target, Target)
    (only,) = target.stores
    assert isinstance(only, ConsulSpec)
    return only


@pytest.mark.parametrize(("written", "path"), [("app/prod", "app/prod"), ("app/prod/", "app/prod"), ("prod", "prod")])
def test_the_lock_lies_where_terraform_puts_it(written: str, path: str) -> None:
    assert spec(path=written).path == path


@pytest.mark.parametrize(
    ("environ", "settings", "url"),
    [
        ({}, {}, "http://127.0.0.1:8500"),
        ({"CONSUL_HTTP_ADDR": "c:1"}, {}, "http://c:1"),
        ({"CONSUL_HTTP_ADDR": "c:1"}, {"address": "d:2"}, "http://d:2"),
        ({"CONSUL_HTTP_ADDR": "https://c:1"}, {}, "https://c:1"),
        ({"CONSUL_HTTP_ADDR": "http://c:1", "CONSUL_HTTP_SSL": "true"}, {}, "https://c:1"),
        ({"CONSUL_HTTP_SSL": "1"}, {}, "https://127.0.0.1:8500"),
        ({"CONSUL_HTTP_SSL": "yes"}, {}, "http://127.0.0.1:8500"),
        ({"CONSUL_HTTP_SSL": "1"}, {"scheme": "http"}, "http://127.0.0.1:8500"),
        ({}, {"address": "d:2", "scheme": "https"}, "https://d:2"),
    ],
)
def test_the_address_is_the_backends_then_the_environments(
    environ: dict[str, str], settings: dict[str, str], url: str
) -> None:
    assert spec(environ, **settings).consul.url == url


def test_files_count_from_where_terraform_runs() -> None:
    environ = {"CONSUL_CACERT": "env.pem", "CONSUL_HTTP_TOKEN_FILE": "/run/token", "CONSUL_CAPATH": "certs"}

    access = spec(environ, cert_file="own.pem", key_file="/keys/own.key").consul

    assert (access.ca_file, access.cert_file, access.key_file) == (
        "/srv/app/env.pem",
        "/srv/app/own.pem",
        "/keys/own.key",
    )
    assert (access.token_file, access.ca_path) == ("/run/token", "/srv/app/certs")


@pytest.mark.parametrize(
    ("environ", "token"),
    [({}, "backend"), ({"CONSUL_HTTP_TOKEN": "env"}, "backend"), ({"CONSUL_HTTP_TOKEN_FILE": "token"}, "file")],
)
def test_the_files_token_goes_before_the_backends_and_that_before_the_environments(
    environ: dict[str, str], token: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("file\n")
    planned = PlannedBackend("consul", {"path": "p", "access_token": "backend"}, "default")
    target = locate(planned, tmp_path, "default", environ, source="the cache")
    assert isinstance(target, Target)

    client = Client(target.stores[0].consul, environ)  # type: ignore[union-attr]  # It is Consul's.

    assert client._headers()["X-Consul-Token"] == token


def test_the_environments_token_is_the_last() -> None:
    client = Client(ConsulAccess(address="c"), {"CONSUL_HTTP_TOKEN": "env", "CONSUL_HTTP_AUTH": "ana:secret"})

    assert client._headers()["X-Consul-Token"] == "env"
    assert client._headers()["Authorization"] == "Basic YW5hOnNlY3JldA=="


def test_secrets_are_named_and_stay_out_of_files_and_representations() -> None:
    target = found(access_token="t0ken", http_auth="ana:pass")
    assert isinstance(target, Target)

    bare, is_bare = without_secrets(target)

    assert {"t0ken", "ana:pass", "pass"} <= set(target.secrets())
    assert is_bare
    assert b"t0ken" not in msgspec.json.encode(bare) and b"pass" not in msgspec.json.encode(bare)
    assert "t0ken" not in repr(target) and "pass" not in repr(target)


def test_without_a_lock_in_the_backend_nobody_can_be_kept_out() -> None:
    target = found(lock=False)

    assert isinstance(target, Unlockable)
    assert target.needs_lock
    assert "lock = false" in target.reason


def test_a_path_at_which_terraform_itself_gets_no_lock_is_refused() -> None:
    target = found(path="/app/prod")

    assert isinstance(target, Unlockable)
    assert target.needs_lock
    assert "starts with a slash" in target.reason


@pytest.mark.parametrize(
    ("path", "state", "lock"),
    [("app", "app-env:blue", "app-env:blue"), ("app/", "app/-env:blue", "app/-env:blue")],
)
def test_in_other_workspaces_terraform_is_told_of_no_lock_once_we_hold_it(path: str, state: str, lock: str) -> None:
    """There it takes its lock whatever its command, and also with `-lock=false`."""
    target = found(workspace="blue", path=path)

    assert isinstance(target, Target) and isinstance(target.state, ConsulState)
    (only,) = target.stores
    assert isinstance(only, ConsulSpec)
    assert (target.path, target.state.path, only.path) == (state, state, lock)
    assert only.child_settings("0-1") == ChildSettings("lock", False, is_for_plans=True)
    assert spec().child_settings("0-1") is None


def test_a_url_names_a_prefix_and_what_it_leaves_out_is_the_environments() -> None:
    environ = {"CONSUL_HTTP_ADDR": "https://c:1"}

    assert parse_store_url("consul://d:2/locks?datacenter=dc1", "prod/net", environ) == ConsulSpec(
        path="locks/prod/net", consul=ConsulAccess(address="d:2", datacenter="dc1")
    )
    assert parse_store_url("consul:///locks", "net", environ) == ConsulSpec(
        path="locks/net", consul=ConsulAccess(address="c:1", scheme="https")
    )


@pytest.mark.parametrize("url", ["consul://d?scheme=gopher", "consul://d?token=x", "consul://ana@d/x"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_store_url(url, "net", {})


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (ConsulAccess(address="/run/consul.sock", scheme="unix"), "for unix"),
        (ConsulAccess(address="c", scheme="https", ca_file="/no/such.pem"), "/no/such.pem"),
        (ConsulAccess(address="c", scheme="https", cert_file="/no/own.pem", key_file="/no/key"), "/no/own.pem"),
    ],
)
def test_what_can_never_work_is_said_before_anything_is_asked(access: ConsulAccess, words: str) -> None:
    with pytest.raises(StoreMisconfigured, match=words) as raised:
        Client(access, {})

    assert len(str(raised.value).splitlines()) == 2


def test_a_token_file_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreMisconfigured, match="/no/token"):
        Client(ConsulAccess(address="c", token_file="/no/token"), {})._headers()
