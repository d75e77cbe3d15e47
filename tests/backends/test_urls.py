from __future__ import annotations

import os

import pytest

from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.urls import parse_store_url
from tfguard.errors import ConfigError

EAST = AwsAccess(region="eu-west-1")


@pytest.mark.parametrize(
    ("url", "spec"),
    [
        ("dynamodb://locks?region=eu-west-1", DynamoDBSpec(table="locks", lock_id="prod/net", aws=EAST)),
        (
            "dynamodb://locks?region=eu-west-1&endpoint=http://127.0.0.1:8000&profile=ops",
            DynamoDBSpec(
                table="locks",
                lock_id="prod/net",
                aws=AwsAccess(region="eu-west-1", profile="ops"),
                endpoint="http://127.0.0.1:8000",
            ),
        ),
        ("s3://b?region=eu-west-1", S3Spec(bucket="b", key="prod/net.tflock", aws=EAST)),
        (
            "s3://b/my/locks/?region=eu-west-1&path_style=true",
            S3Spec(bucket="b", key="my/locks/prod/net.tflock", aws=EAST, use_path_style=True),
        ),
        ("file:///var/lib/my%20locks", LocalSpec(path="/var/lib/my locks/prod/net", is_state=False)),
        ("/var/lib/locks", LocalSpec(path="/var/lib/locks/prod/net", is_state=False)),
        ("locks", LocalSpec(path=os.path.abspath("locks/prod/net"), is_state=False)),
    ],
)
def test_a_url_says_where_the_lock_lives(url: str, spec: object) -> None:
    assert parse_store_url(url, "prod/net", {}) == spec


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_from_the_environment_where_the_url_has_none(name: str) -> None:
    spec = parse_store_url("dynamodb://locks", "n", {name: "eu-north-1"})

    assert isinstance(spec, DynamoDBSpec)
    assert spec.aws.region == "eu-north-1"


@pytest.mark.parametrize(
    ("url", "name", "claim"),
    [
        ("", "n", "is no store"),
        ("redis://host", "n", "is no store"),
        ("s3://user:hunter2@bucket", "n", "s3://bucket names a login before the @"),
        ("postgres://ci@db/ops", "n", "login before the @.*\nExpected postgres://HOST:PORT/DATABASE.*user=USER"),
        ("dynamodb://", "n", "is no store|names no table"),
        ("s3:///prefix", "n", "names no bucket"),
        ("dynamodb://table/extra", "n", "a table has no path"),
        ("dynamodb://table?regoin=x", "n", "unknown option 'regoin'"),
        ("s3://b?path_style=yes", "n", "path_style is true or false"),
        ("s3://b?region=a&region=b", "n", "twice"),
        ("file://dir", "n", "three slashes"),
        ("file:///dir?region=x", "n", "unknown option"),
        ("http://[", "n", "is no store"),
        ("dynamodb://t\udcff", "n", "is no UTF-8"),
        ("s3://b/p\udcff", "n", "is no UTF-8"),
        ("locks", "", "no name for a lock"),
        ("locks", "../x", "no name for a lock"),
        ("locks", "/etc/x", "no name for a lock"),
        ("locks", "a\x1b[1m", "no name for a lock"),
    ],
)
def test_what_cannot_be_used_is_named_in_two_lines(url: str, name: str, claim: str) -> None:
    with pytest.raises(ConfigError, match=claim) as caught:
        parse_store_url(url, name, {})

    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 200 and line.isprintable() for line in lines)
    assert "hunter2" not in str(caught.value)


def test_a_file_of_a_named_lock_is_called_no_state_file() -> None:
    spec = parse_store_url("/var/lib/locks", "prod", {})

    assert spec.open().place == "file /var/lib/locks/prod"
