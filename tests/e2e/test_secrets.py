"""Planted secrets are found nowhere: not in what we say, not in what we store, not on any command line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import GATED, Stage
from tests.e2e.fake_aws import refusing
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "PLANTEDACCESSKEYOFENV",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key-of-env",
    "AWS_SESSION_TOKEN": "planted-session-token-of-env",
    "TF_VAR_password": "planted-terraform-password",
    "GITHUB_TOKEN": "planted-github-token",
}
#: In the backend's own configuration, where Terraform's cache keeps them.
BACKEND = {"access_key": "PLANTEDACCESSKEYOFBACKEND", "secret_key": "planted-secret-key-of-backend"}
PLANTED = [*ENVIRONMENT.values(), *BACKEND.values()]
VARIABLE = 'variable "password" {\n  sensitive = true\n}\n'


def planted_in(text: str) -> list[str]:
    return [secret for secret in PLANTED if secret in text]


@pytest.fixture
def made(stage: Callable[..., Stage]) -> Iterator[Stage]:
    made = stage("both", is_initialised=False, text=GATED)
    made.environ.update(ENVIRONMENT)
    made.write(GATED + VARIABLE, **{name: f'"{value}"' for name, value in BACKEND.items()})
    yield made.init()
    made.open_gate()


def stored(made: Stage) -> str:
    """Everything in table and bucket that is not the state, raw."""
    items = made.dynamodb.client.scan(TableName=made.table)["Items"]
    keys = [each["Key"] for each in made.s3.client.list_objects_v2(Bucket=made.bucket).get("Contents", [])]
    return str(items) + str([made.s3.body(made.bucket, key) for key in keys if key != made.key])


def command_lines(pid: int) -> list[str]:
    process = psutil.Process(pid)
    found = []
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # It has ended while we looked.
            found.append(" ".join(each.cmdline()))
    return found


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_run_shows_no_secret_anywhere(made: Stage, log_format: str) -> None:
    run = made.start_tfguard("--verbose", f"--log-format={log_format}", "apply", "-auto-approve")
    made.wait_for_log("begin")

    lines = eventually(lambda: command_lines(run.pid), 10, "command lines")
    records = stored(made)
    made.open_gate()
    out, err = run.communicate(timeout=patience(30))

    assert run.returncode == 0, err
    assert any("terraform apply" in line for line in lines), lines
    assert len(lines) >= 3
    assert planted_in("\n".join(lines)) == []
    assert "tfguard" in records
    assert planted_in(records) == []
    assert planted_in(stored(made)) == []
    assert "run.finished" in err
    assert planted_in(out + err) == []


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_failing_run_shows_no_secret_either(made: Stage, log_format: str) -> None:
    made.dynamodb.client.delete_table(TableName=made.table)

    result = made.tfguard("--verbose", f"--log-format={log_format}", "apply", "-auto-approve")

    assert result.code == 78, str(result)
    assert planted_in(result.out + result.err) == []


def test_an_answer_that_repeats_the_request_is_not_quoted(stage: Callable[..., Stage]) -> None:
    made = stage("local", is_initialised=False)
    made.environ.update(ENVIRONMENT)
    echo = "The canonical string should have been: x-amz-security-token:planted-session-token-of-env"
    with refusing("InvalidSignatureException", echo) as aws:
        leave_cache(made, aws.endpoint)

        result = made.tfguard("--verbose", "--lock-timeout=0s", "apply")

    assert result.code == 77, str(result)
    assert "does not accept these credentials" in result.err
    assert planted_in(result.out + result.err) == []


def leave_cache(made: Stage, endpoint: str) -> Path:
    """Leave the directory as an init for an S3 backend at this endpoint would have."""
    config: dict[str, Any] = {"bucket": "tf-state", "key": "app", "region": "eu-west-1", "dynamodb_table": "tf-locks"}
    config |= {"endpoints": [{"dynamodb": endpoint}], "sse_customer_key": "planted-terraform-password"}
    (made.path / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    path = made.path / ".terraform" / "terraform.tfstate"
    path.parent.mkdir()
    path.write_text(json.dumps({"version": 3, "backend": {"type": "s3", "config": config, "hash": 1}}))
    return path
