"""What the real Terraform, and OpenTofu, make of our lock records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.kinds import AwsKind, DynamoDBKind, S3Kind, lease, record
from tests.support import parts

pytestmark = [pytest.mark.emulator, pytest.mark.e2e]

BACKEND = {
    "bucket": "",
    "key": "prod/terraform.tfstate",
    "region": "us-east-1",
    "access_key": "testkey",
    "secret_key": "testsecret",
    "skip_credentials_validation": True,
    "skip_requesting_account_id": True,
    "skip_metadata_api_check": True,
    "skip_region_validation": True,
    "use_path_style": True,
}


def configure(directory: Path, **settings: Any) -> None:
    configuration = {"terraform": {"backend": {"s3": {**BACKEND, **settings}}}}
    (directory / "main.tf.json").write_text(json.dumps(configuration))


def run(binary: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary, *arguments], cwd=directory, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def terraform() -> str:
    return parts.terraform()


@pytest.fixture
def dynamodb_kind(dynamodb: Any, s3: Any, tmp_path: Path) -> Iterator[DynamoDBKind]:
    made = DynamoDBKind(dynamodb)
    bucket = s3.bucket()
    made.spec = type(made.spec)(
        table=made.spec.table, lock_id=f"{bucket}/{BACKEND['key']}", aws=made.spec.aws, endpoint=made.spec.endpoint
    )
    endpoints = {"s3": s3.endpoint, "dynamodb": dynamodb.endpoint}
    configure(tmp_path, bucket=bucket, dynamodb_table=made.spec.table, endpoints=endpoints)
    yield made
    made.close()


@pytest.fixture
def s3_kind(s3: Any, tmp_path: Path) -> Iterator[S3Kind]:
    made = S3Kind(s3)
    configure(tmp_path, bucket=made.spec.bucket, use_lockfile=True, endpoints={"s3": s3.endpoint})
    yield made
    made.close()


def check(binary: str, kind: AwsKind, directory: Path) -> None:
    """Refused with our holder's facts; force-unlock with our ID frees the lock; then it goes through."""
    store = kind.open()
    held = store.create(record(lease=lease()))
    assert run(binary, directory, "init", "-no-color").returncode == 0

    refused = run(binary, directory, "plan", "-no-color")
    unlocked = run(binary, directory, "force-unlock", "-force", held.id)
    allowed = run(binary, directory, "plan", "-no-color")

    assert refused.returncode == 1
    assert held.id in refused.stderr
    assert "ana@ci-7" in refused.stderr
    assert unlocked.returncode == 0, unlocked.stderr
    assert store.read() is None
    assert allowed.returncode == 0, allowed.stderr


def test_terraform_is_refused_by_our_item_and_can_force_unlock_it(
    terraform: str, dynamodb_kind: DynamoDBKind, tmp_path: Path
) -> None:
    check(terraform, dynamodb_kind, tmp_path)


def test_terraform_is_refused_by_our_lock_object_and_can_force_unlock_it(
    terraform: str, s3_kind: S3Kind, tmp_path: Path
) -> None:
    check(terraform, s3_kind, tmp_path)


def test_opentofu_is_refused_by_our_item_and_can_force_unlock_it(
    tofu: str, dynamodb_kind: DynamoDBKind, tmp_path: Path
) -> None:
    check(tofu, dynamodb_kind, tmp_path)
