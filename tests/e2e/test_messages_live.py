"""What is said while real runs wait, end and fail, in both forms; and that every command we recommend works."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REGION
from tests.e2e.conftest import GATED, LOCKED, Result, Stage
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

SNAPSHOTS = Path(__file__).parents[1] / "report" / "messages"
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/infra",
    "GITHUB_RUN_ID": "4812",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_ACTOR": "ana",
}


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read a program's stderr until a line matches; the test's own timeout ends a wait for ever."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if re.search(pattern, line):
            return "".join(seen)
    raise AssertionError(f"{pattern!r} was never said:\n{''.join(seen)}")


@contextlib.contextmanager
def ending(made: Stage, *processes: subprocess.Popen[str]) -> Iterator[None]:
    """Let nothing outlive a test that fails."""
    try:
        yield
    finally:
        made.open_gate()
        for process in processes:
            if process.returncode is None:
                process.terminate()
                process.communicate(timeout=patience(30))


def ended(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=patience(30))
    return Result(process.returncode, out, err)


def test_whoever_waits_for_plain_terraform_is_told_so_and_then_gets_in(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=GATED)
    holder = made.start(["terraform", "apply", "-auto-approve"])
    lock = made.wait_for_lock()
    waiter = made.start_tfguard("--lock-timeout=2m", "plan")

    with ending(made, holder, waiter):
        said = read_until(waiter, "Waiting up to").splitlines()
        made.open_gate()
        results = [ended(holder), ended(waiter)]

    assert f" is held by {lock['Who']} (apply, " in said[0]
    assert said[0].endswith("plain Terraform, no heartbeat).")
    assert re.search(r"Waiting up to (2m|1m\d+s)\b", said[-1])
    assert said[-1].endswith(f"If it is dead: tfguard unlock --id {lock['ID']}")
    assert [result.code for result in results] == [0, 0]


def test_whoever_waits_for_another_tfguard_learns_its_run_and_where_to_watch_it(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=GATED)
    holder = made.start_tfguard("apply", "-auto-approve", **GITHUB)
    made.wait_for_log("begin")
    waiter = made.start_tfguard("--lock-timeout=2m", "plan")

    with ending(made, holder, waiter):
        said = read_until(waiter, "Waiting up to").splitlines()
        busy = made.tfguard("--lock-timeout=0s", "--log-format=json", "plan")
        made.open_gate()
        results = [ended(holder), ended(waiter)]

    assert re.search(r" is held by ana@\S+ \(apply.*, GitHub run 4812, .*heartbeat \d+ s ago\)\.$", said[0])
    assert said[1].startswith("Watch it: https://github.com/acme/infra/actions/runs/4812")
    failed, finished = (json.loads(line) for line in busy.err.splitlines())
    assert (failed["event"], failed["holder"]["run"], busy.code) == ("run.failed", "GitHub run 4812", 75)
    assert f"Watch it: {failed['holder']['link']}" == said[1]
    assert (finished["event"], finished["outcome"], finished["lock_id"]) == ("run.finished", "lock-timeout", None)
    assert [result.code for result in results] == [0, 0]


# --- the forms ------------------------------------------------------------------------------------------------------

FACTS = ("label", "lock", "lock_id", "token", "waited_s", "held_s", "heartbeats", "outcome", "exit_code")


def test_in_json_every_line_is_an_event_and_one_of_them_ends_the_run(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb")

    result = made.tfguard("apply", "-auto-approve", TFGUARD_LOG_FORMAT="json")

    events = [json.loads(line) for line in result.err.splitlines()]
    acquired, finished = events[0], events[-1]
    assert [event["event"] for event in events] == ["lease.acquired", "run.finished"]
    assert acquired["message"].startswith(f"{made.bucket}/{made.key}: locked")
    assert acquired["message"].endswith(f" ({acquired['lock_id']}).")
    assert set(FACTS) <= finished.keys()
    assert finished["lock_id"] == acquired["lock_id"]
    assert (finished["label"], finished["token"], finished["exit_code"]) == (f"{made.bucket}/{made.key}", 1, 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), rf"[^\n]+: {LOCKED}[^\n]+\)\.\n\d\d:\d\d:\d\d info +run\.finished [^\n]+ outcome=succeeded exit_code=0\n"),
        (("--quiet",), ""),
        (
            ("--verbose",),
            rf".*run\.started.*: {LOCKED}.*lease\.acquired.*child\.started.*child\.exited.*run\.finished.*",
        ),
    ],
)
def test_quiet_and_verbose_say_less_and_more(
    stage: Callable[..., Stage], flags: tuple[str, ...], expected: str
) -> None:
    made = stage("local")

    result = made.tfguard(*flags, "apply", "-auto-approve")

    assert result.code == 0
    assert re.fullmatch(expected, result.err, re.DOTALL), result.err


def test_quiet_still_says_what_went_wrong(stage: Callable[..., Stage]) -> None:
    made = stage("local")
    made.write(made.path.joinpath("main.tf").read_text().replace("echo begin", "exit 3; echo begin"))

    result = made.tfguard("--quiet", "apply", "-auto-approve")

    assert result.code == 1
    assert "locked" not in result.err
    assert "run.finished" in result.err and "outcome=failed" in result.err


# --- the commands that messages recommend ---------------------------------------------------------------------------


COMMAND = re.compile(
    r"(?:^|: )((?:tfguard|terraform)(?: -p \S+)? (?:plan|apply|status|unlock|settle|init|run|exec|state)\b.*)$",
    re.MULTILINE,
)


def recommended() -> list[str]:
    """Every command in the messages, each once: it ends a line, and begins it or follows a colon."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(SNAPSHOTS.glob("*.txt"))]
    return sorted({command for text in texts for command in COMMAND.findall(text)})


def put_dead_lock(made: Stage, lock_id: str, key: str) -> None:
    info = {"ID": lock_id, "Operation": "OperationTypeApply", "Who": "ana@gone", "Created": "2026-11-20T21:17:33Z"}
    item = {"LockID": {"S": key}, "Info": {"S": json.dumps(info)}}
    made.dynamodb.client.put_item(TableName=made.table, Item=item)


def test_there_are_commands_to_try() -> None:
    verbs = {word for command in recommended() for word in command.split() if word in ("plan", "status", "unlock")}

    assert {"plan", "status", "unlock"} <= verbs


def test_every_command_that_a_message_recommends_works(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb")
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod/network: {}\n")
    store = f"dynamodb://{made.table}?region={REGION}&endpoint={made.endpoints['dynamodb']}"

    for command in recommended():
        words = shlex.split(command)[1:]
        words = [store if word.startswith("dynamodb://") else word for word in words]
        if "unlock" in words:
            key = "deploy" if "--name" in words else f"{made.bucket}/{made.key}"
            put_dead_lock(made, words[words.index("--id") + 1], key)
            words.append("--yes")  # Here is no terminal to ask on.

        result = made.tfguard(*words)

        assert result.code == 0, f"{command}\n{result}"
    assert made.locks() == []


def test_an_interrupted_wait_ends_with_its_line_too(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb")
    put_dead_lock(made, "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", f"{made.bucket}/{made.key}")
    waiter = made.start_tfguard("--log-format=json", "--lock-timeout=2m", "plan")
    read_until(waiter, "lease.awaited")

    waiter.terminate()

    result = ended(waiter)
    failed, finished = (json.loads(line) for line in result.err.splitlines())
    assert result.code == -15
    assert failed["message"].endswith(
        ": stopped by SIGTERM while waiting: nothing is run, and the place in line is given up."
    )
    assert (finished["outcome"], finished["exit_code"], finished["lock_id"]) == ("interrupted", 143, None)
    assert len(made.locks()) == 1
