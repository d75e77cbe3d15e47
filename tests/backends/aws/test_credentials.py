from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REGION, S3
from tests.support.eventually import eventually, patience
from tfguard.backends import fresh
from tfguard.backends.aws import credentials as aws_credentials
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.spec import AssumeRole, AwsAccess
from tfguard.backends.net.transport import Response
from tfguard.errors import StoreDenied, StoreMisconfigured

SECRET = "hunter2hunter2"
ROLE = AssumeRole(role_arn="arn:aws:iam::123456789012:role/ci", session_name="run-1", duration=900)


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    things: list[Any] = []
    yield things
    for thing in things:
        thing.close()


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def client(opened: list[Any], access: AwsAccess, service: str = "dynamodb", endpoint: str = "") -> Client:
    credentials = Credentials(access)
    opened.append(credentials)
    made = credentials.client(service, endpoint)
    opened.append(made)
    return made


def key_of(opened: list[Any]) -> str:
    """The access key that the last client signs with."""
    keys = opened[-2].get_frozen_credentials()
    return str(keys.access_key)


def static(**settings: Any) -> AwsAccess:
    return AwsAccess(**{"region": REGION, "access_key": "testkey", "secret_key": SECRET, **settings})


# --- which credentials ------------------------------------------------------------------------------------------


def test_no_credentials_says_where_to_put_them(opened: list[Any]) -> None:
    with pytest.raises(
        StoreDenied, match="Tried, in this order: backend, AWS_ACCESS_KEY_ID, web identity, profile default"
    ):
        client(opened, AwsAccess(region=REGION))


def test_the_backends_keys_go_before_the_environments(opened: list[Any], aws_env: None) -> None:
    client(opened, static(access_key="fromconfig"))

    assert key_of(opened) == "fromconfig"


def test_the_environments_keys_go_before_its_profile(
    opened: list[Any], aws_env: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "ops")

    client(opened, AwsAccess(region=REGION))

    assert key_of(opened) == "testkey"


def test_the_backends_profile_goes_before_the_environments_keys(
    opened: list[Any], aws_env: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files(monkeypatch, tmp_path)

    client(opened, AwsAccess(region=REGION, profile="ops"))

    assert key_of(opened) == "opskey"


def test_of_several_credentials_files_the_last_with_the_profile_wins(opened: list[Any], tmp_path: Path) -> None:
    paths = []
    for name, profile in (("one", "ops"), ("two", "ops"), ("three", "dev")):
        path = tmp_path / name
        path.write_text(f"[{profile}]\naws_access_key_id = {name}\naws_secret_access_key = {SECRET}\n")
        paths.append(str(path))

    client(opened, AwsAccess(region=REGION, profile="ops", shared_credentials_files=tuple(paths)))

    assert key_of(opened) == "two"


def test_an_unknown_profile_is_named(opened: list[Any]) -> None:
    with pytest.raises(StoreMisconfigured, match="nobody") as caught:
        client(opened, AwsAccess(region=REGION, profile="nobody"))

    assert "Correct `profile`, or add it to ~/.aws/config ([profile nobody])" in str(caught.value)


@pytest.mark.emulator
def test_a_chain_of_roles_is_assumed(opened: list[Any], s3: S3) -> None:
    second = AssumeRole(role_arn="arn:aws:iam::123456789012:role/deploy", tags={"team": "net"}, external_id="xyz")

    made = client(opened, static(assume_role=(ROLE, second), sts_endpoint=s3.endpoint), "sts", s3.endpoint)

    assert made.ask("get_caller_identity", "sts", {})["Arn"].endswith("assumed-role/deploy/tfguard")


@pytest.mark.emulator
@pytest.mark.parametrize("by_file", [True, False], ids=["file", "text"])
def test_a_web_identity_is_exchanged_for_a_role(
    opened: list[Any], s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    (tmp_path / "token").write_text("a.jwt.token\n")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))  # Else no other STS than AWS's gets it.
    token = {"web_identity_token_file": str(tmp_path / "token")} if by_file else {"web_identity_token": "a.jwt.token"}
    role = AssumeRole(role_arn=ROLE.role_arn, **token)

    client(opened, AwsAccess(region=REGION, assume_role_with_web_identity=role, sts_endpoint=s3.endpoint))

    expires_at = opened[-2].expires_at()
    assert timedelta(minutes=10) < expires_at - datetime.now(timezone.utc) < timedelta(hours=2)


def test_a_web_identity_token_that_cannot_be_read_is_named(opened: list[Any], tmp_path: Path) -> None:
    role = AssumeRole(role_arn=ROLE.role_arn, web_identity_token_file=str(tmp_path / "no-token"))

    with pytest.raises(StoreDenied, match="web identity token cannot be read"):
        client(opened, AwsAccess(region=REGION, assume_role_with_web_identity=role))


def test_no_variable_is_believed_about_when_keys_end(
    opened: list[Any], aws_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")

    client(opened, AwsAccess(region=REGION))

    assert opened[-2].expires_at() is None


def test_keys_do_not_show_themselves() -> None:
    assert SECRET not in repr(Keys(access_key="a", secret_key=SECRET, token=SECRET))


# --- where to -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "configured", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "", "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "", "eu-west-2"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "eu-west-3"),
    ],
)
def test_the_region_is_terraforms(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], configured: str, expected: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    made = client(opened, static(region=configured))

    assert made.region == expected


def test_no_region_is_a_matter_of_configuration(opened: list[Any]) -> None:
    with pytest.raises(StoreMisconfigured, match="No AWS region is set"):
        client(opened, static(region=""))


@pytest.mark.parametrize(
    ("environ", "configured", "expected"),
    [
        ({}, "", "https://dynamodb.us-east-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://all"}, "", "http://all"),
        ({"AWS_ENDPOINT_URL": "http://all", "AWS_DYNAMODB_ENDPOINT": "http://old"}, "", "http://old"),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://one", "AWS_DYNAMODB_ENDPOINT": "http://old"}, "", "http://one"),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://one"}, "http://configured", "http://configured"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "", "https://dynamodb-fips.us-east-1.amazonaws.com"),
    ],
)
def test_the_endpoint_is_terraforms(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], configured: str, expected: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    made = client(opened, static(), endpoint=configured)

    assert made.endpoint == expected


@pytest.mark.parametrize(
    ("endpoint", "is_aws"), [("", True), ("http://127.0.0.1:1", False), ("https://amazonaws.com.evil.example", False)]
)
def test_only_aws_is_taken_for_aws(opened: list[Any], endpoint: str, is_aws: bool) -> None:
    assert client(opened, static(), endpoint=endpoint).is_aws is is_aws


# --- fresh ----------------------------------------------------------------------------------------------------------


class Source:
    """Hands out keys that live for `life` seconds, numbered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, life: float | None, calendar: Any = datetime) -> None:
        self.given = 0
        self._life = life
        self._calendar = calendar
        monkeypatch.setattr(aws_credentials, "_found_keys", self._next)
        monkeypatch.setattr(fresh, "RETRY_SECONDS", 0.01)

    def _next(self, *_: Any) -> Keys:
        self.given += 1
        life = self._life
        expires_at = None if life is None else self._calendar.now(timezone.utc) + timedelta(seconds=life)
        return Keys(access_key=f"key{self.given}", secret_key=SECRET, expires_at=expires_at)


class Calendar:
    """Stands in for `datetime`: it is `at`, which the test moves."""

    at = datetime(2026, 11, 21, tzinfo=timezone.utc)

    def now(self, zone: timezone) -> datetime:
        return self.at.astimezone(zone)


def test_credentials_are_refreshed_before_they_end(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = Calendar()
    monkeypatch.setattr(fresh, "datetime", calendar)
    monkeypatch.setattr(fresh, "LOOK_SECONDS", 0.01)
    Source(monkeypatch, life=900.0, calendar=calendar)
    client(opened, static())

    for number in (2, 3):
        ends_at = opened[-2].expires_at()
        calendar.at += timedelta(seconds=601)

        eventually(lambda key=f"key{number}": key_of(opened) == key, what="a refresh")
        assert calendar.at < ends_at < opened[-2].expires_at()


def test_credentials_without_an_end_are_resolved_once(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(monkeypatch, life=None)
    credentials = Credentials(static())

    opened += [credentials, credentials.client("dynamodb"), credentials.client("s3")]

    assert source.given == 1
    assert credentials.expires_at() is None


def test_an_expired_token_is_renewed_without_waiting_for_it(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Source(monkeypatch, life=None)
    made = client(opened, static())
    body = b'{"__type":"com.amazonaws#ExpiredTokenException"}'
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-crc32": str(zlib.crc32(body))}
    monkeypatch.setattr(made._reach.transport, "send", lambda *_: Response(400, headers, body))

    with pytest.raises(StoreDenied):
        made.ask("get_item", "table", {"TableName": "t", "Key": {"LockID": {"S": "a"}}})

    eventually(lambda: opened[-2].get_frozen_credentials().access_key == "key2", what="new keys")


def test_a_refresh_that_fails_leaves_the_old_keys(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(monkeypatch, life=None)
    client(opened, static())

    def fail(*_: Any) -> Keys:
        source.given += 1
        raise StoreDenied("gone", action="sign", resource="AWS credentials")

    monkeypatch.setattr(aws_credentials, "_found_keys", fail)
    opened[-2].renew_soon()

    eventually(lambda: source.given >= 2, what="an attempt")
    assert key_of(opened) == "key1"


def test_a_request_never_waits_for_a_refresh(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    Source(monkeypatch, life=None)
    client(opened, static())
    entered, leave = threading.Event(), threading.Event()

    def hang(*_: Any) -> Keys:
        entered.set()
        leave.wait(patience(10))
        return Keys(access_key="late", secret_key=SECRET)

    monkeypatch.setattr(aws_credentials, "_found_keys", hang)
    opened[-2].renew_soon()
    assert entered.wait(patience(5))

    assert key_of(opened) == "key1"

    leave.set()  # Until here the refresh was on its way.
    eventually(lambda: key_of(opened) == "late", what="the late keys")


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    ["tfguard.backends", "tfguard.backends.local.store", "tfguard.backends.aws.backend", "tfguard.backends.urls"],
)
def test_a_local_lock_does_not_pay_for_botocore(module: str) -> None:
    check = f"import sys, {module}; sys.exit('botocore' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


def files(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    path = directory / "shared"
    path.write_text(f"[ops]\naws_access_key_id = opskey\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
