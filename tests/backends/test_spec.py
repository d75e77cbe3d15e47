"""What specs and targets say of themselves, so that nobody has to know which kind they are."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from tfguard.backends import keyring
from tfguard.backends.aws.spec import AssumeRole, AwsAccess, DynamoDBSpec, S3Spec, S3State
from tfguard.backends.keyring import Keyring
from tfguard.backends.local.spec import LocalSpec, LocalState
from tfguard.backends.target import StoreSpec, Target
from tfguard.errors import StoreDenied
from tfguard.lock.deadlines import Deadlines

ACCESS = AwsAccess(
    region="eu-west-1",
    access_key="s-key",
    secret_key="s-secret",
    token="s-token",
    https_proxy="http://me:s-proxy@proxy",
    assume_role_with_web_identity=AssumeRole(role_arn="arn", web_identity_token="s-web"),
)
LOCAL = LocalSpec(path="/app/terraform.tfstate")
TABLE = DynamoDBSpec(table="locks", lock_id="b/app", aws=ACCESS, endpoint="http://u:s-url@h")
BUCKET = S3Spec(bucket="b", key="app.tflock", aws=ACCESS, encrypt=True, sse_customer_key="s-sse")
SPECS = (LOCAL, TABLE, BUCKET)


def target(*stores: StoreSpec) -> Target:
    return Target(label="x", path="x", backend="x", workspace="default", stores=stores)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_a_spec_comes_over_the_socket_as_it_went(spec: StoreSpec) -> None:
    assert msgspec.json.decode(msgspec.json.encode(target(spec)), type=Target) == target(spec)


def test_a_state_comes_over_the_socket_as_it_went() -> None:
    sent = msgspec.structs.replace(target(TABLE), state=BUCKET.state("app"))

    assert msgspec.json.decode(msgspec.json.encode(sent), type=Target) == sent


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_no_secret_is_left_in_a_bare_spec_nor_shown_by_any(spec: StoreSpec) -> None:
    assert b"s-" not in msgspec.json.encode(spec.bare())
    assert "s-secret" not in repr(spec)
    assert spec.bare().bare() == spec.bare()


def test_every_secret_is_named() -> None:
    assert set(target(TABLE, BUCKET).secrets()) == {"s-key", "s-secret", "s-token", "s-sse"}
    assert target(LOCAL).secrets() == []
    assert target(DynamoDBSpec(table="t", lock_id="l", aws=AwsAccess())).secrets() == []


def test_a_scratch_place_is_beside_the_lock_and_another_each_time() -> None:
    first, second = TABLE.scratch(), TABLE.scratch()
    beside = BUCKET.scratch()

    assert first.lock_id.startswith("b/app.tfguard-probe-")
    assert first != second
    assert beside.key.startswith("app.tfguard-probe-")
    assert msgspec.structs.replace(beside, key=BUCKET.key) == BUCKET
    assert LOCAL.scratch() is None


def test_a_state_is_reached_and_written_as_its_lock_is() -> None:
    state = BUCKET.state("app")

    assert isinstance(state, S3State)
    assert (state.bucket, state.key, state.aws, state.encrypt) == ("b", "app", ACCESS, True)
    assert state.sse_customer_key == "s-sse"


def test_a_local_lock_lies_on_its_state_and_no_other_does() -> None:
    assert target(LOCAL).state_place == LocalState(path=LOCAL.path)
    assert target(TABLE, BUCKET).state_place is None


@pytest.mark.parametrize(
    ("stores", "is_local", "deadlines"),
    [
        ((LOCAL,), True, None),
        ((TABLE,), False, Deadlines.of(180)),
        ((BUCKET,), False, Deadlines.of(180, beats_are_objects=True)),
        ((BUCKET, TABLE), False, Deadlines.of(180, beats_are_objects=True)),
    ],
)
def test_a_targets_deadlines_follow_from_what_its_stores_are(
    stores: tuple[StoreSpec, ...], is_local: bool, deadlines: Deadlines | None
) -> None:
    made = target(*stores)

    assert made.is_local is is_local
    assert made.deadlines(180) == deadlines


def test_taking_a_lock_makes_a_workspace_where_that_is_a_directory(tmp_path: Any) -> None:
    there, missing = LocalSpec(path=str(tmp_path / "s")), LocalSpec(path=str(tmp_path / "stage" / "s"))

    assert [spec.makes_workspace() for spec in (there, missing, TABLE, BUCKET)] == [False, True, False, False]


# --- opening ----------------------------------------------------------------------------------------------------


def test_a_target_is_opened_as_a_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Opened:
        def close(self) -> None:
            closed.append("first")

    def refuse(*_: object) -> Any:
        raise StoreDenied("no", action="sign", resource="AWS credentials")

    monkeypatch.setattr(LocalSpec, "open", lambda *_: Opened())
    monkeypatch.setattr(DynamoDBSpec, "open", refuse)

    with pytest.raises(StoreDenied):
        target(LOCAL, TABLE).open()

    assert closed == ["first"]


class Resolved:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_keyring_resolves_once_what_is_reached_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AwsAccess, "resolve", lambda _: Resolved())
    ring = Keyring()
    other = msgspec.structs.replace(TABLE, aws=AwsAccess(region="eu-north-1"))

    first = ring.credentials(TABLE)
    found = [ring.credentials(spec) for spec in (BUCKET, other, LOCAL)]
    monkeypatch.setenv("AWS_PROFILE", "another")
    elsewhere = ring.credentials(TABLE)
    ring.close()

    assert found[0] is first
    assert found[1] not in (None, first)
    assert found[2] is None
    assert elsewhere is not first
    assert isinstance(first, Resolved)
    assert first.is_closed


def test_a_keyring_minds_no_variable_that_is_not_the_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AwsAccess, "resolve", lambda _: Resolved())
    ring = keyring.Keyring()

    first = ring.credentials(TABLE)
    monkeypatch.setitem(os.environ, "TF_VAR_size", "3")

    assert ring.credentials(TABLE) is first
