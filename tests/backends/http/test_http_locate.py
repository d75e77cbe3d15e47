"""From the http backend's attributes and the environment to the lock that Terraform would take."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tfguard.backends import locate
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.target import PlannedBackend, Target, Unlockable, without_secrets
from tfguard.errors import ConfigError

HERE = Path("/srv/app")
GITLAB = "https://gitlab.example.com/api/v4/projects/7/terraform/state/prod"
OTHER = "https://states.example.com/prod"


def found(environ: dict[str, str] | None = None, **settings: object) -> Target | Unlockable:
    return locate(PlannedBackend("http", settings, "default"), HERE, "default", environ or {}, source="the cache")


def lock(environ: dict[str, str] | None = None, address: str = GITLAB, **settings: object) -> HttpSpec:
    given = {"address": address, "lock_address": f"{address}/lock", "unlock_address": f"{address}/lock", **settings}
    target = found(environ, **given)
    assert isinstance(target, Target)
    assert isinstance(target.stores[-1], HttpSpec)
    return target.stores[-1]


@pytest.mark.parametrize(
    "address",
    [GITLAB, "http://localhost:8080/git/api/v4/projects/group%2Fapp/terraform/state/a.b-c", f"{GITLAB}?x=1"],
)
def test_gitlab_is_known_by_its_address_and_has_a_guard_beside_the_state(address: str) -> None:
    target = found(address=address, lock_address=f"{address}/lock", unlock_address=f"{address}/lock")

    assert isinstance(target, Target)
    guard, held = target.stores
    assert isinstance(guard, GitLabGuardSpec) and isinstance(held, HttpSpec)
    assert guard.address == address.partition("?")[0]
    assert held.is_gitlab


@pytest.mark.parametrize(
    "address", [OTHER, f"{GITLAB}/lock", "https://gitlab.example.com/api/v4/projects/7/state/prod"]
)
def test_another_server_keeps_no_guard_of_ours(address: str) -> None:
    target = found(address=address, lock_address=address, unlock_address=address)

    assert isinstance(target, Target)
    assert [type(spec) for spec in target.stores] == [HttpSpec]
    assert not lock(address=address).is_gitlab


def test_the_label_is_the_states_name() -> None:
    labels = []
    for address in (GITLAB, OTHER):
        target = found(address=address, lock_address=address, unlock_address=address)
        assert isinstance(target, Target)
        labels.append(target.label)

    assert labels == ["prod", "states.example.com/prod"]


def test_an_attribute_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {
        "TF_HTTP_ADDRESS": "https://env.example.com",
        "TF_HTTP_LOCK_ADDRESS": f"{GITLAB}/lock",
        "TF_HTTP_UNLOCK_ADDRESS": f"{GITLAB}/lock",
        "TF_HTTP_LOCK_METHOD": "POST",
        "TF_HTTP_USERNAME": "ana",
    }

    target = found(environ, address=GITLAB, lock_method=None, username="bob")

    assert isinstance(target, Target)
    held = target.stores[-1]
    assert isinstance(held, HttpSpec)
    assert (held.address, held.lock_method, held.unlock_method) == (GITLAB, "POST", "UNLOCK")
    assert held.http.username == "bob"


@pytest.mark.parametrize("name", ["lock_address", "unlock_address"])
def test_without_a_place_for_a_lock_nobody_can_be_kept_out(name: str) -> None:
    given = {"address": GITLAB, "lock_address": GITLAB, "unlock_address": GITLAB, name: None}

    target = found(**given)

    assert isinstance(target, Unlockable)
    assert target.needs_lock
    assert f"has no {name}" in target.reason
    assert f"TF_HTTP_{name.upper()}" in target.reason


@pytest.mark.parametrize(
    "address", ["", "states.example.com/prod", "ftp://h/x", "https://", "https://h:x/y", "https://h/a b", "https://ü/x"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="`address` of the http backend is no address"):
        found(address=address, lock_address=OTHER, unlock_address=OTHER)


def test_a_method_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="`lock_method`"):
        lock(lock_method="LOCK /x HTTP/1.1\r\n")


def test_what_is_secret_is_named_and_stands_in_no_file_and_no_repr() -> None:
    address = GITLAB.replace("https://", "https://ana:hidden@")
    target = found(
        address=address,
        lock_address=f"{address}/lock",
        unlock_address=f"{address}/lock",
        username="ana",
        password="geheim",
        client_certificate_pem="cert",
        client_private_key_pem="the key",
    )
    assert isinstance(target, Target)

    bare, is_stripped = without_secrets(target)

    assert is_stripped
    assert {"geheim", "hidden", "the key"} <= set(target.secrets())
    for shown in (repr(target), msgspec.json.encode(bare).decode(), target.path, target.label):
        assert not any(secret in shown for secret in ("geheim", "hidden", "the key")), shown


def test_a_child_is_given_the_id_within_its_address() -> None:
    plain, queried = (lock(address=address).child_settings("0-1") for address in (GITLAB, f"{GITLAB}?a=b"))

    assert plain is not None and queried is not None
    assert (plain.attribute, plain.variable, plain.value) == ("address", "TF_HTTP_ADDRESS", f"{GITLAB}?ID=0-1")
    assert queried.value == f"{GITLAB}?a=b&ID=0-1"
