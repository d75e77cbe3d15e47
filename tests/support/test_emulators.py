from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import S3, Consul, DynamoDB, Gcs
from tests.support import emulators
from tests.support.eventually import eventually, patience


@pytest.mark.emulator
def test_dynamodb_local_keeps_what_it_is_given(dynamodb: DynamoDB) -> None:
    table = dynamodb.table()

    dynamodb.client.put_item(TableName=table, Item={"LockID": {"S": "a"}})

    assert dynamodb.item(table, "a") == {"LockID": {"S": "a"}}


@pytest.mark.emulator
def test_the_s3_emulator_refuses_a_second_creator(s3: S3) -> None:
    bucket = s3.bucket()
    s3.client.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")

    with pytest.raises(s3.client.exceptions.ClientError, match="PreconditionFailed"):
        s3.client.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")

    assert s3.body(bucket, "k") == b"first"


@pytest.mark.emulator
def test_consul_gives_a_lock_to_one_session_only(consul: Consul) -> None:
    path = consul.path()
    sessions = [consul.ask("PUT", "session/create", b'{"NodeChecks": []}')["ID"] for _ in range(2)]

    taken = [consul.ask("PUT", f"kv/{path}/.lock?acquire={session}", b"") for session in sessions]

    assert taken == [True, False]
    assert consul.holder(path) == sessions[0]


@pytest.mark.emulator
def test_googles_storage_numbers_what_it_keeps_and_tells_what_is_missing(gcs: Gcs) -> None:
    bucket = gcs.bucket()

    gcs.put(bucket, "a/b", b"text")

    about = gcs.about(bucket, "a/b") or {}
    assert (about["name"], about["metageneration"], gcs.body(bucket, "a/b")) == ("a/b", "1", b"text")
    assert gcs.about(bucket, "a") is None
    assert gcs.objects(bucket) == ["a/b"]


def test_opentofu_runs(tofu: str) -> None:
    shown = subprocess.run([tofu, "version"], capture_output=True, text=True, timeout=60)

    assert shown.stdout.startswith("OpenTofu v1.6.2")


@pytest.mark.emulator
@pytest.mark.parametrize("server", ["s3_server", "consul_server"])
@pytest.mark.parametrize("end", ["os._exit(0)", "s.__exit__(None, None, None)"], ids=["died", "closed"])
def test_a_server_ends_with_the_process_that_started_it(server: str, end: str) -> None:
    starter = f"import os, tests.support.emulators as e; s = e.{server}(); print(s.__enter__(), flush=True); {end}"
    argv = [sys.executable, "-c", starter]

    if server == "consul_server":
        emulators.consul()  # Or it is missing here.

    shown = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=emulators.ROOT)

    eventually(lambda: not _answers(shown.stdout.strip()), what="the server to be gone")


def _answers(endpoint: str) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(endpoint, timeout=patience(1)):
            return True
    except OSError:
        return False


@pytest.mark.emulator
def test_a_shared_server_outlives_who_started_it_and_ends_with_who_shares_it(tmp_path: Path) -> None:
    starter = (
        "import sys, pathlib, tests.support.emulators as e;"
        "print(e.shared_server(pathlib.Path(sys.argv[1]), 's3', e.s3_argv), flush=True)"
    )
    argv = [sys.executable, "-c", starter, str(tmp_path)]

    with emulators.sharing(tmp_path):
        first, second = (
            subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=emulators.ROOT) for _ in range(2)
        )
        answered = _answers(first.stdout.strip())

    assert first.stdout == second.stdout != "", first.stderr
    assert answered
    eventually(lambda: not _answers(first.stdout.strip()), what="the server to be gone")
