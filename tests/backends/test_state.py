"""Copies of a state that could not be saved, and digests that do not match."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import S3, DynamoDB
from tfguard.backends import state
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3State
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target
from tfguard.errors import StoreUnavailable


def local(path: Path) -> Target:
    return Target(label="x", path="x", backend="local", workspace="default", stores=(LocalSpec(path=str(path)),))


def remote(s3: S3, dynamodb: DynamoDB, **settings: object) -> Target:
    aws = AwsAccess()
    bucket, table = s3.bucket(), dynamodb.table()
    spec = S3State(bucket=bucket, key="app", aws=aws, endpoint=s3.endpoint, use_path_style=True, **settings)  # type: ignore[arg-type]
    lock = DynamoDBSpec(table=table, lock_id=f"{bucket}/app", aws=aws, endpoint=dynamodb.endpoint)
    return Target(label="x", path="x", backend="s3", workspace="default", stores=(lock,), state=spec)


def put_digest(dynamodb: DynamoDB, target: Target, digest: str) -> None:
    spec = target.stores[0]
    assert isinstance(spec, DynamoDBSpec)
    item = {"LockID": {"S": f"{spec.lock_id}-md5"}, "Digest": {"S": digest}}
    dynamodb.client.put_item(TableName=spec.table, Item=item)


def test_a_local_copy_is_private_and_beside_the_state(tmp_path: Path) -> None:
    (tmp_path / "errored.tfstate").write_text("unsaved")
    target = local(tmp_path / "terraform.tfstate")

    place = state.keep_copy(target, str(tmp_path / "errored.tfstate"), "id-1")

    assert place == str(tmp_path / "terraform.tfstate.errored.id-1")
    assert Path(place).read_text() == "unsaved"
    assert Path(place).stat().st_mode & 0o777 == 0o600
    assert state.is_there(target, place)
    Path(place).unlink()
    assert not state.is_there(target, place)


def test_a_copy_that_cannot_be_made_is_said_in_a_word(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"errored\.tfstate cannot be copied: No such file"):
        state.keep_copy(local(tmp_path / "s"), str(tmp_path / "errored.tfstate"), "id-1")


@pytest.mark.usefixtures("aws_env")
def test_a_copy_in_the_bucket_is_encrypted_as_the_state_is(s3: S3, dynamodb: DynamoDB, tmp_path: Path) -> None:
    (tmp_path / "errored.tfstate").write_text("unsaved")
    target = remote(s3, dynamodb, encrypt=True)
    assert target.state is not None

    place = state.keep_copy(target, str(tmp_path / "errored.tfstate"), "id-1")

    answer = s3.client.head_object(Bucket=target.state.bucket, Key="app.errored.id-1")
    assert place == f"s3://{target.state.bucket}/app.errored.id-1"
    assert answer["ServerSideEncryption"] == "AES256"
    assert state.is_there(target, place)
    s3.client.delete_object(Bucket=target.state.bucket, Key="app.errored.id-1")
    assert not state.is_there(target, place)


@pytest.mark.usefixtures("aws_env")
def test_a_digest_is_compared_with_the_state(s3: S3, dynamodb: DynamoDB) -> None:
    target = remote(s3, dynamodb)
    assert target.state is not None
    right, wrong = hashlib.md5(b"state", usedforsecurity=False).hexdigest(), "0" * 32
    without_any = state.mismatch(target)
    put_digest(dynamodb, target, wrong)
    without_state = state.mismatch(target)
    s3.client.put_object(Bucket=target.state.bucket, Key="app", Body=b"state")

    differing = state.mismatch(target)
    put_digest(dynamodb, target, right)
    equal = state.mismatch(target)

    assert without_any is None
    assert without_state is not None
    assert without_state.actual == ""
    assert differing is not None
    assert (differing.stored, differing.actual) == (wrong, right)
    assert equal is None
