"""What the docs show of our commands is what they print: their sessions are run, and compared line by line."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import click
import pytest

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.e2e.conftest import TFGUARD, WORK, Stage
from tests.support.pages import blocks, page, pages
from tfguard.backends.aws.dynamodb import DynamoDBStore
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.cli.main import OWN
from tfguard.cli.own_commands import group
from tfguard.clock import created
from tfguard.config.options import parse
from tfguard.lock import queue_record
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord, QueueRecord
from tfguard.terraform.commands import NAMES

pytestmark = pytest.mark.e2e

TABLE, BUCKET, REGION = "tf-locks", "acme-prod-state", "eu-central-1"
DEAD_LOCK = "0aaf67c2-1d04-4ce4-bbf7-d284f7c9b100"
#: A line of a page that stands for any number of lines.
SKIPPED = "…"
#: What differs from run to run, and what stands for it.
VARYING = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\b[0-9a-f]{32}\b", "MD5"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN"),
    (r"\b\d+(\.\d+)? (s|min|h|d)\b", "AGE"),
    (r"locked after \S+ ", "locked "),  # Said where it took a second.
    (r"\b\d+h\d+m|\b\d+m\d+s|\b\d+[hms]\b", "DURATION"),
    (r"\d\d:\d\d:\d\d", "TIME"),
    (r"_s=\d+(\.\d+)?", "_s=SECONDS"),
    (r"heartbeats=\d+", "heartbeats=N"),
    (r"\d+\.\d+\.\d+", "VERSION"),
    (r"\(/\S+\)", "(PATH)"),
    (r" {2,}", "  "),
)


def sessions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `$ command` of the text's blocks, with the lines that it shows."""
    for block in blocks(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            yield command, shown


def command_lines() -> list[str]:
    """Each call of tfguard in the blocks of a page, less what is shell's."""
    found = []
    for block in (block for text in pages().values() for block in blocks(text)):
        for line in block.splitlines():
            match = re.match(r"^(?:\$ |- run: )?(?:exec )?(tfguard [a-z-][^…|>]*)$", line)
            if match:
                found.append(match[1].strip())
    return found


def shape(line: str) -> str:
    for pattern, word in VARYING:
        line = re.sub(pattern, word, line)
    return line.rstrip()


def is_as_shown(shown: list[str], printed: list[str]) -> bool:
    if not shown:
        return not printed
    if shown[0] == SKIPPED:
        return any(is_as_shown(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and shape(shown[0]) == shape(printed[0]) and is_as_shown(shown[1:], printed[1:])


def assert_as_shown(made: Stage, text: str) -> None:
    """Run what the text's sessions run, in their order."""
    for command, shown in sessions(text):
        printed = run(made, command)
        assert is_as_shown(shown, printed), "\n".join([f"$ {command}", *printed])


@pytest.fixture
def acme(stage: Callable[..., Stage]) -> Iterator[Stage]:
    """The docs' own table and bucket, under the names that it prints."""
    made = stage("dynamodb", is_initialised=False)
    build(made)
    yield made
    made.dynamodb.client.delete_table(TableName=TABLE)
    for version in made.s3.client.list_object_versions(Bucket=BUCKET).get("Versions", ()):
        made.s3.client.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    made.s3.client.delete_bucket(Bucket=BUCKET)


def test_the_sessions_of_the_docs_go_as_they_are_shown(acme: Stage) -> None:
    assert_as_shown(acme, page("reference/cli"))
    assert_as_shown(acme, page("reference/configuration"))
    break_digest(acme)
    leave_dead_lock(acme)
    assert_as_shown(acme, page("how-to/stuck"))


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_every_command_line_of_the_docs_is_one_that_tfguard_takes(line: str) -> None:
    found = parse(shlex.split(line, comments=True)[1:])
    command, words = group, list(found.command)

    assert found.is_raw or words[0] in OWN | NAMES | {"--version"}
    while isinstance(command, click.Group) and words[:1] and words[0] in command.commands:
        command = command.commands[words.pop(0)]
        command.make_context(None, list(words))  # Raises where an option is unknown, or one that is needed is missing.


def run(made: Stage, command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "tfguard"
    result = subprocess.run(
        [*TFGUARD, *words[1:]],
        cwd=made.path,
        env=made.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).splitlines()


def build(made: Stage) -> None:
    """Two pipelines, of which one was never initialised."""
    made.environ |= {"TFGUARD_WHO": "ana@laptop", "AWS_REGION": REGION}
    made.dynamodb.client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
    )
    made.s3.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    made.s3.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    made.table, made.bucket, made.key = TABLE, BUCKET, "network.tfstate"
    (made.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n"
        "  prod/network: {dir: network, approve: auto}\n"
        "  prod/dns: {dir: dns, backend_config: {key: dns.tfstate}}\n"
    )
    for name in ("network", "dns"):
        (made.path / name).mkdir()
        (made.path / name / "main.tf").write_text(WORK)
        (made.path / name / "backend.tf").write_text(made.backend_block(region=f'"{REGION}"'))


def break_digest(made: Stage) -> None:
    """As a run leaves it that was killed between the state and its digest."""
    item = {"LockID": {"S": f"{BUCKET}/{made.key}-md5"}, "Digest": {"S": "0" * 32}}
    made.dynamodb.client.put_item(TableName=TABLE, Item=item)


def leave_dead_lock(made: Stage) -> None:
    """The lock of a run in CI whose machine is no more."""
    link = "https://github.com/acme/infra/actions/runs/4812"
    last_beat = datetime.now(timezone.utc) - timedelta(minutes=9)
    info = LockInfo(
        id=DEAD_LOCK,
        operation="OperationTypeApply",
        who="runner@ci-7",
        created=created(last_beat - timedelta(minutes=2)),
        path=f"{BUCKET}/{made.key}",
    )
    lease = Lease(
        beat=12,
        duration_ms=6000,
        holder=Holder(who="runner@ci-7", command="apply", run="GitHub run 4812", link=link),
        token=3,
        beaten_at=created(last_beat),
    )
    access = AwsAccess(region=REGION, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    spec = DynamoDBSpec(table=TABLE, lock_id=info.path, aws=access, endpoint=made.endpoints["dynamodb"])
    store = DynamoDBStore(spec)
    store.create(LockRecord(text=info.encode(), info=info, lease=lease))
    seen = store.read_queue()
    assert seen is not None
    text = queue_record.encode(queue_record.decode(seen.text).with_token(lease.token - 1))
    store.write_queue(seen, QueueRecord(text=text, revision=seen.revision + 1))
    store.close()
