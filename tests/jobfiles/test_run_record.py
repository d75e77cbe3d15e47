"""What a run leaves in a file for a later step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tfguard.backends.aws.spec import AssumeRole, AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target, without_secrets
from tfguard.jobfiles import run_record
from tfguard.jobfiles.run_record import KEPT_RECORDS, ProcessMark, RecordWriter, RunRecord

LOCAL = Target(label="x", path="x", backend="local", workspace="default", stores=(LocalSpec(path="/x"),))


def a_record(**facts: object) -> RunRecord:
    return msgspec.structs.replace(RunRecord(label="prod", again="tfguard", target=LOCAL), **facts)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = a_record(lock_id="1", exit_code=0, keeper=run_record.mark(os.getpid()))

    run_record.write(tmp_path / "a" / "r.json", record)

    assert run_record.read(tmp_path / "a" / "r.json") == record
    assert (tmp_path / "a" / "r.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_no_secret_stands_in_a_record() -> None:
    web = AssumeRole(role_arn="arn", web_identity_token="s-web")
    aws = AwsAccess(
        access_key="s-key",
        secret_key="s-secret",
        token="s-token",
        http_proxy="http://me:s-proxy@proxy",
        assume_role_with_web_identity=web,
    )
    bucket = S3Spec(bucket="b", key="k.tflock", aws=aws, sse_customer_key="s-sse", endpoint="http://u:s-url@h")
    table = DynamoDBSpec(table="t", lock_id="b/k", aws=aws)
    target = msgspec.structs.replace(LOCAL, stores=(bucket, table), state=bucket)

    bare, is_stripped = without_secrets(target)

    assert is_stripped
    assert b"s-" not in msgspec.json.encode(bare)


def test_a_target_without_secrets_is_whole() -> None:
    target = msgspec.structs.replace(LOCAL, stores=(DynamoDBSpec(table="t", lock_id="b/k", aws=AwsAccess()),))

    assert without_secrets(target) == (target, False)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HOME": "/h"}, "/h/.local/state/tfguard/runs"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/tfguard/runs"),
        ({"HOME": "/h", "CI_PROJECT_DIR": "/builds/x"}, "/builds/x/.tfguard/runs"),
        ({"HOME": "/h", "RUNNER_TEMP": "/r", "CI_PROJECT_DIR": "/builds/x"}, "/r/tfguard"),
        ({"HOME": "/h", "RUNNER_TEMP": "/r", "TFGUARD_RECORDS": "/mine"}, "/mine"),
    ],
)
def test_records_are_where_every_step_of_a_job_finds_them(environ: dict[str, str], place: str) -> None:
    assert run_record.folder(environ) == Path(place)


def test_in_a_checkout_git_does_not_see_them(tmp_path: Path) -> None:
    run_record.write(run_record.folder({"CI_PROJECT_DIR": str(tmp_path)}) / "r.json", a_record())

    assert (tmp_path / ".tfguard" / ".gitignore").read_text() == "*\n"


def test_a_process_that_ended_is_not_taken_for_a_later_one() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = run_record.mark(process.pid)
    assert mark is not None
    was_alive = mark.is_alive()

    process.communicate(b"\n")

    assert was_alive
    assert not mark.is_alive()
    assert not ProcessMark(pid=os.getpid(), started="another").is_alive()


def test_a_zombie_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert run_record.mark(process.pid) is None
    process.wait()


def test_records_of_another_boot_are_not_here() -> None:
    here = a_record(boot=run_record.boot_id(), namespace=run_record.pid_namespace())

    assert here.is_here
    assert not msgspec.structs.replace(here, boot="another").is_here
    assert not msgspec.structs.replace(here, namespace="another").is_here
    assert not a_record().is_here


def test_what_nobody_settles_does_not_pile_up(tmp_path: Path) -> None:
    for number in range(KEPT_RECORDS + 5):
        run_record.write(tmp_path / f"{number}.json", a_record(release="released"))
        os.utime(tmp_path / f"{number}.json", (number, number))
    run_record.write(tmp_path / "held.json", a_record())
    os.utime(tmp_path / "held.json", (0, 0))

    run_record.prune(tmp_path)

    left = {path.stem for path in run_record.paths(tmp_path)}
    assert left == {"held"} | {str(number) for number in range(5, KEPT_RECORDS + 5)}


def test_a_folder_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    RecordWriter(str(tmp_path / "file" / "r.json"), a_record()).note_held(lock_id="1")

    assert run_record.paths(tmp_path / "file") == [tmp_path / "file"]


def test_a_home_that_may_not_be_looked_into_stops_no_run() -> None:
    closed = Path("/", "x" * 300)  # Nobody may ask for it, root included: the name is too long.

    RecordWriter(str(closed / "r.json"), a_record()).note_held(lock_id="1")

    assert run_record.paths(closed) == []


def test_garbage_is_no_record(tmp_path: Path) -> None:
    for name, text in {"a.json": "", "b.json": "{}", "c.json": "[" * 100_000}.items():
        (tmp_path / name).write_text(text)

    assert [run_record.read(path) for path in run_record.paths(tmp_path)] == [None, None, None]


def test_of_a_run_without_a_record_the_story_is_kept_for_a_week(tmp_path: Path) -> None:
    for name in ("old.story", "old.text", "new.story", "kept.text", "kept.json"):
        (tmp_path / name).touch()
    for name in ("old.story", "old.text", "kept.text"):
        os.utime(tmp_path / name, (1, 1))

    run_record.prune(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "kept.text", "new.story"]
