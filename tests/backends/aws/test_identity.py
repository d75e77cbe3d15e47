"""What doctor says of whom we are: in words, and beside Terraform."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.support.fake_aws import FakeAws, access_key, fake_aws
from tfguard.backends.aws.identity import as_terraform, identity, in_words
from tfguard.backends.aws.keys import AssumeRole
from tfguard.backends.aws.order import decide, profiles_of
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.backends.target import Target

SECRET = "hunter2hunter2"
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
ASSUMED = "arn:aws:sts::123456789012:assumed-role/ci"
ROLE = "arn:aws:iam::123456789012:role/"


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[FakeAws]:
    with fake_aws(tmp_path) as server:
        yield server


def words(access: AwsAccess, environ: dict[str, str]) -> str:
    return in_words(decide(access, environ, profiles_of(access, environ)), access)


def test_the_whole_order_is_told_without_a_secret(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HOME": str(tmp_path), "AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": ROLE + "pod"}
    access = AwsAccess(assume_role=(AssumeRole(role_arn=ROLE + "ci"),))

    assert words(access, environ) == (
        f"AWS_ACCESS_KEY_ID: keys, then {ROLE}ci;"
        f" set, not used: AWS_WEB_IDENTITY_TOKEN_FILE (web identity for {ROLE}pod);"
        " not set: access_key, assume_role_with_web_identity, profile, profile default, container, EC2 instance"
    )


def test_a_step_that_is_passed_over_may_be_broken(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HOME": str(tmp_path), "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}

    assert "set, not used: AWS_WEB_IDENTITY_TOKEN_FILE (unusable)" in words(AwsAccess(), environ)


NOTHING = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize(
    ("environ", "access", "says"),
    [
        (
            NOTHING,
            AwsAccess(),
            (
                "There are no AWS credentials; access_key: not set; assume_role_with_web_identity: not set;"
                " profile: not set;"
                " AWS_ACCESS_KEY_ID: not set; AWS_WEB_IDENTITY_TOKEN_FILE: not set; profile default: not set;"
                " container: not set; EC2 instance: not set"
            ),
        ),
        (
            {**NOTHING, "AWS_PROFILE": "gone"},
            AwsAccess(),
            "; AWS_PROFILE: there is no profile gone; container: not set;",
        ),
        (NOTHING, AwsAccess(profile="gone"), "; profile: there is no profile gone; AWS_ACCESS_KEY_ID: not set;"),
        (NOTHING, AwsAccess(secret_key=SECRET), "; access_key: The backend has only a part of `access_key` and"),
        (
            {
                **NOTHING,
                "AWS_WEB_IDENTITY_TOKEN_FILE": "/t",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost/x",
            },
            AwsAccess(),
            "; AWS_WEB_IDENTITY_TOKEN_FILE: AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not;",
        ),
        ({**NOTHING, "AWS_CONFIG_FILE": "/dev/zero"}, AwsAccess(), "/dev/zero is not a file"),
    ],
)
def test_where_nothing_resolves_doctor_tells_what_each_step_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], access: AwsAccess, says: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"HOME": str(tmp_path), **environ}.items():
        monkeypatch.setenv(name, value)
    lock = Mock(target=_target(access))

    answer = identity(lock)

    assert answer is not None
    assert answer[0] == "failure"
    assert says in answer[1]
    assert answer[2] and SECRET not in "".join(answer)


def _target(access: AwsAccess) -> Target:
    stores = (DynamoDBSpec(table="t", lock_id="l", aws=access),)
    return Target(label="l", path="b/k", backend="s3", workspace="default", stores=stores)


def log(*arns: str) -> str:
    answers = [f"  | <GetCallerIdentityResult>\n  |   <Arn>{arn}</Arn>\n  | </GetCallerIdentityResult>" for arn in arns]
    return "\n".join(["[DEBUG] <Arn>arn:of:something:else</Arn>", *answers])


@pytest.mark.parametrize(
    ("text", "mark", "says"),
    [
        ("", None, ""),
        ("<GetCallerIdentityResult>" * 3, None, ""),
        (log(f"{ASSUMED}/terraform-1"), "ok", f"both of us as {ASSUMED}"),
        (log("first", "arn:aws:sts::9:assumed-role/ci/x"), "failure", "Terraform as arn:aws:sts::9:assumed-role/ci"),
        (log("arn:aws:iam::123456789012:user/ana"), "failure", "Terraform as arn:aws:iam::123456789012:user/ana"),
    ],
)
def test_another_identity_than_terraforms_is_a_failure(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, text: str, mark: str | None, says: str
) -> None:
    access = AwsAccess(
        region="eu-west-1",
        access_key=access_key("a"),
        secret_key=SECRET,
        assume_role=(AssumeRole(role_arn=ROLE + "ci"),),
        sts_endpoint=aws.endpoint,
    )

    answer = as_terraform(_target(access), text)

    assert (answer and answer[0]) == mark
    assert says in (answer[1] if answer else "")
