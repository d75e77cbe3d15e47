"""
A lock record is a stranger's text: whatever it says, it is shown, and does nothing.

Whoever may write to the table can do so; it is read by everybody's terminals, CI logs and summaries.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stage
from tests.security.obeyed import obeyed
from tests.security.test_parsers import UNCLEAN
from tests.support.eventually import patience
from tfguard.clock import boot_id

pytestmark = pytest.mark.e2e

STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'
#: A terminal's title and screen, a CI's commands, text turned round, a page's markup.
EVIL = (
    "\x1b]0;owned\x07\x1b[2J\r\n::error::owned\r\n::set-output name=x::owned\n ::stop-commands::a\n"
    "##[stop-commands]a##vso[owned]\n"
    "\u202egnp.exe\u2066\x9b1A<script>owned()</script>|`@all"
)
HOLDER = {"who": EVIL, "command": EVIL, "run": EVIL, "link": "https://x/\x1b[2J\n::error::owned"}
INFO = {
    "ID": "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100\x1b[2J\n::error::owned",
    "Operation": EVIL,
    "Info": EVIL,
    "Who": EVIL,
    "Version": EVIL,
    "Created": "2026-11-20T21:17:33Z",
    "Path": EVIL,
}
LEASE = {"beat": 7, "duration_ms": 180_000, "holder": HOLDER, "beaten_at": EVIL, "reason": EVIL, "boot": EVIL}
DEEP = "[" * 30_000 + "]" * 30_000
RECORDS: dict[str, tuple[str | None, str | None]] = {
    "escapes": (json.dumps(INFO), json.dumps(LEASE)),
    "plain": (json.dumps(INFO), None),
    "hold": (json.dumps(INFO), json.dumps({**LEASE, "hold_until": EVIL})),
    "huge": (json.dumps({**INFO, "Who": EVIL * 1000}), json.dumps(LEASE)),
    "deep": (DEEP, DEEP),
    "deep-inside": (f'{{"ID": "a", "Who": "b", "x": {DEEP}}}', f'{{"beat": 7, "holder": {DEEP}}}'),
    "numbers": (json.dumps(INFO), json.dumps({**LEASE, "duration_ms": 10**4000, "token": 10**30, "sent": 1e308})),
    "negative": (json.dumps(INFO), json.dumps({**LEASE, "duration_ms": -1})),
    "types": ('{"ID": ["a"], "Who": {"b": 1}}', '{"beat": "7", "duration_ms": null}'),
    "nothing": ("", ""),
    # Its holder died on this very machine, which so can tell.
    "dead": (json.dumps(INFO), json.dumps({**LEASE, "duration_ms": 9000, "boot": boot_id(), "sent": 1.0})),
    # The queue record alone.
    "free": (None, None),
}
RUN = {"holder": HOLDER, "ended_at": EVIL, "outcome": EVIL, "unlocked_by": EVIL, "reason": EVIL, "held_s": 1e308}
QUEUE = json.dumps(
    {"token": 3, "errored": EVIL, "runs": [RUN, RUN], "tickets": [{"id": "a", "holder": HOLDER, "number": 1}]}
)
#: What every record is shown by; one of them by all commands.
SHORT = ("status", "apply in CI")
#: Shown, waiting denied, refused, or not to be made sense of; never a defect.
CODES = {0, 1, 64, 75, 78}


def plant(made: Stage, text: str | None, lease: str | None) -> None:
    lock_id = f"{made.bucket}/{made.key}"
    item: dict[str, Any] = {"LockID": {"S": lock_id}, "Info": {"S": text}}
    if lease is not None:
        item |= {"TfguardBeat": {"N": "7"}, "TfguardLease": {"S": lease}}
    line = {"LockID": {"S": f"{lock_id}.tfguard"}, "Queue": {"S": QUEUE}, "Revision": {"N": "1"}}
    if text is None:
        made.dynamodb.client.delete_item(TableName=made.table, Key={"LockID": {"S": lock_id}})
    for each in (line,) if text is None else (item, line):
        made.dynamodb.client.put_item(TableName=made.table, Item=each)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """One directory for all records here; each test writes its own record."""
    from tests.e2e.conftest import base_environ

    path = tmp_path_factory.mktemp("stage")
    s3, dynamodb = request.getfixturevalue("s3"), request.getfixturevalue("dynamodb")
    made = Stage(path, "dynamodb", dict(base_environ(path)), s3=s3, dynamodb=dynamodb)
    made.bucket, made.table = s3.bucket(), dynamodb.table()
    made.endpoints |= {"s3": s3.endpoint, "dynamodb": dynamodb.endpoint}
    made.write(STILL)
    return made.init()


#: What a job's log is told by us for its runner to obey; whatever else it obeys is a stranger's.
OURS = (
    "::error title=tfguard::",
    "::warning title=tfguard::",
    "::group::terraform apply",
    "::stop-commands::",
    "::endgroup::",
)


def commands(summary: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    github = {"GITHUB_ACTIONS": "true", "TFGUARD_CI_LOG": "1", "GITHUB_STEP_SUMMARY": str(summary)}
    return {
        "status": (["status"], {}),
        "status --json": (["status", "--json"], {}),
        "status --backend": (["status", "--backend"], {}),
        "history": (["history"], {}),
        "unlock": (["unlock", "--id", "another"], {}),
        "apply in CI": (["--lock-timeout=0s", "apply", "-auto-approve"], github),
        "apply as JSON": (["--lock-timeout=0s", "--log-format=json", "apply", "-auto-approve"], {}),
    }


@pytest.mark.parametrize("record", RECORDS)
def test_a_hostile_record_is_shown_and_does_nothing(made: Stage, tmp_path: Path, record: str) -> None:
    plant(made, *RECORDS[record])
    summary = tmp_path / "summary"
    summary.touch()
    started = time.monotonic()

    results = {
        name: made.tfguard(*words, **environ)
        for name, (words, environ) in commands(summary).items()
        if record in ("escapes", "free") or name in SHORT
    }

    for name, result in results.items():
        told = result.out + result.err
        assert result.code in CODES, f"{name}: {result}"
        assert "Traceback" not in told, f"{name}: {result}"
        assert not UNCLEAN.search(told), f"{name}: {told!r}"
        assert [line for line in obeyed(told) if not line.startswith(OURS)] == [], f"{name}: {told!r}"
        assert all(len(line) < 2000 for line in result.err.splitlines()), f"{name}: {result}"
    assert "<script>" not in summary.read_text()
    is_free = record == "free"
    assert results["status"].code == 0 and is_free != ("held" in results["status"].out + results["status"].err)
    assert time.monotonic() - started < patience(30)
