"""
What a person reads during a run, word for word.

The snapshots are in tests/messages; `TFGUARD_UPDATE_SNAPSHOTS=1` writes them anew, to be read before they are
committed. That the commands in them exist and work is shown in e2e/test_messages_live.py.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from tfguard.clock import created
from tfguard.errors import Outcome
from tfguard.guard.messages import Relative
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.protocol import Sibling
from tfguard.lock.refusals import NotOurTurn
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.report.messages import phrases, running, starting, waiting
from tfguard.report.messages.phrases import PROGRAM, Subject
from tfguard.report.run_ended import RunEnded
from tfguard.terraform.fingerprint import Difference

SNAPSHOTS = Path(__file__).parent / "messages"
#: Read here: a test finds its environment scrubbed.
UPDATE = os.environ.get("TFGUARD_UPDATE_SNAPSHOTS") == "1"
NOW = datetime(2026, 11, 20, 21, 17, 33, tzinfo=timezone.utc)
ID = "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100"
LINK = "https://github.com/acme/infra/actions/runs/4812"
DENIED = (
    "AWS denies dynamodb:PutItem on DynamoDB table tf-locks (AccessDeniedException).\n"
    "AWS says: User: arn:aws:sts::123456789012:assumed-role/ci/run is not authorized to perform: dynamodb:PutItem\n"
    "Allow dynamodb:PutItem for these credentials."
)
SILENT = "No answer to dynamodb:PutItem on DynamoDB table tf-locks: it took too long"


def ago(seconds: float) -> str:
    return created(NOW - timedelta(seconds=seconds))


def record(lease: Lease | None = None, *, lock_id: str = ID, who: str = "ana@laptop", age: float = 840) -> LockRecord:
    info = LockInfo(id=lock_id, operation="OperationTypeApply", who=who, created=ago(age))
    return LockRecord(text=info.encode(), info=info, lease=lease)


def lease(who: str = "ana@ci-7", beaten: float = 4, link: str = LINK, run: str = "GitHub run 4812") -> Lease:
    holder = Holder(who=who, command="apply", run=run, link=link)
    return Lease(beat=7, duration_ms=180_000, holder=holder, beaten_at=ago(beaten))


SUBJECT = Subject("prod/network", "tfguard -p prod/network")
BARE = Subject("tf-state/network/terraform.tfstate")
LOCAL = Subject("network/terraform.tfstate", is_local=True)
NAMED = Subject("deploy", lock_options="--name deploy --store 'dynamodb://locks?region=eu-west-1'")
PLAIN = record()
OURS = record(lease())
LAPTOP = record(lease(link="", run=""))
DEAD = record(lease(beaten=400))
GARBAGE = LockRecord(text="{", info=None)
HOLD = Lease(
    beat=1,
    duration_ms=180_000,
    holder=Holder(who="ana@laptop"),
    hold_until="2026-11-20T22:00:00Z",
    reason="moving the subnets",
)
HELD_BY_HAND = record(HOLD)
LONG = record(
    lease(who="a-very-long-service-account-name@runner-pool-eu-west-1-0123456789abcdef", run="GitHub run " + "9" * 60)
)

SIBLING = Sibling(who="ana@ci-7", command="apply", pid=4711)
NOT_OURS = NotOurTurn(who="ana@ci-7", command="apply", pid=4711)
LEFT = [Relative(name=name, pid=4711 + index) for index, name in enumerate(("sleep", "terraform", "\x1b[31mred", "d"))]

CASES: dict[str, str] = {
    "waiting": waiting.waiting(SUBJECT, OURS, NOW, remaining_seconds=600),
    "waiting-laptop": waiting.waiting(BARE, LAPTOP, NOW, remaining_seconds=90),
    "waiting-plain": waiting.waiting(BARE, PLAIN, NOW, remaining_seconds=570),
    "waiting-dead": waiting.waiting(SUBJECT, DEAD, NOW, remaining_seconds=600, expires_in_seconds=119.7),
    "waiting-garbage": waiting.waiting(BARE, GARBAGE, NOW, remaining_seconds=600),
    "waiting-hold": waiting.waiting(SUBJECT, HELD_BY_HAND, NOW, remaining_seconds=600),
    "waiting-local": waiting.waiting(LOCAL, PLAIN, NOW, remaining_seconds=600),
    "waiting-local-mute": waiting.waiting(LOCAL, None, NOW, remaining_seconds=600),
    "waiting-long": waiting.waiting(Subject("s" * 70 + "/terraform.tfstate"), LONG, NOW, remaining_seconds=600),
    "trouble": waiting.trouble(SUBJECT, SILENT, 571.4),
    "unavailable": waiting.unavailable(SUBJECT, SILENT, waited_seconds=600.2),
    "unavailable-at-once": waiting.unavailable(SUBJECT, SILENT, waited_seconds=0.2),
    "busy": waiting.busy(SUBJECT, OURS, NOW, waited_seconds=600.4),
    "busy-laptop": waiting.busy(SUBJECT, LAPTOP, NOW, waited_seconds=600.4),
    "busy-at-once": waiting.busy(SUBJECT, OURS, NOW, waited_seconds=0.1),
    "busy-plain": waiting.busy(BARE, PLAIN, NOW, waited_seconds=600.4),
    "busy-garbage": waiting.busy(BARE, GARBAGE, NOW, waited_seconds=600.4),
    "busy-local": waiting.busy(LOCAL, PLAIN, NOW, waited_seconds=600.4),
    "busy-named": waiting.busy(NAMED, LAPTOP, NOW, waited_seconds=600.4),
    "implicit": waiting.implicit(SUBJECT.label, remaining_seconds=600.2),
    "implicit_busy": waiting.implicit_busy(SUBJECT.label, waited_seconds=600.2),
    "takeover_refused": waiting.takeover_refused(SUBJECT, DEAD, NOW),
    "busy-hold": waiting.busy(SUBJECT, HELD_BY_HAND, NOW, waited_seconds=600.4),
    "took_over-hold": waiting.took_over(SUBJECT, HELD_BY_HAND, NOW),
    "took_over-named": waiting.took_over(NAMED, DEAD, NOW),
    "took_over": waiting.took_over(SUBJECT, DEAD, NOW),
    "released": running.released(
        RunEnded(label="prod/network", outcome=Outcome.SUCCEEDED, exit_code=0, waited_seconds=35.2, held_seconds=3.4)
    ),
    "own_commands": starting.own_commands(["doctor", "run", "status"]),
    "did_you_mean": starting.did_you_mean("sttaus", "status"),
    "interrupted-waiting": running.interrupted("prod/network", "SIGTERM", was_waiting=True),
    "interrupted": running.interrupted("prod/network", "SIGTERM"),
    "stopping": running.stopping(SUBJECT, "SIGTERM"),
    "stopping_at_terminal": running.stopping_at_terminal(SUBJECT),
    "still_stopping": running.still_stopping(SUBJECT, "SIGTERM"),
    "aborting": running.aborting(SUBJECT),
    "warned": running.warned(SUBJECT, 31.2, "AWS throttles dynamodb:PutItem on DynamoDB table tf-locks (SlowDown)."),
    "freezing": running.freezing(SUBJECT, 108.4),
    "freezing-doubted": running.freezing(SUBJECT, 0.2, is_doubted=True),
    "unstoppable": running.unstoppable(SUBJECT, "sudo (4711), terraform (4712)"),
    "frozen_too_long": running.frozen_too_long(SUBJECT, 1908.2),
    "frozen_too_long-doubted": running.frozen_too_long(SUBJECT, 0.2, is_doubted=True),
    "unlucky": running.unlucky("prod/network"),
    "thawed": running.thawed(SUBJECT),
    "retaken": running.retaken(SUBJECT),
    "timed_out": running.timed_out(SUBJECT, 2700),
    "lost-gone": running.lost(SUBJECT, "gone", None, NOW),
    "lost-anothers": running.lost(SUBJECT, "another's", OURS, NOW),
    "lost-expired": running.lost(SUBJECT, "expired", None, NOW),
    "release_failed": running.release_failed(SUBJECT, DENIED, ID, 180),
    "release_failed-local": running.release_failed(LOCAL, "The file system is full.", ID, None),
    "lost_unnoticed-gone": running.lost_unnoticed(SUBJECT, "gone"),
    "lost_unnoticed-anothers": running.lost_unnoticed(SUBJECT, "another's"),
    "acquired": waiting.acquired(SUBJECT, ID, waited_seconds=0.1, is_nested=False),
    "acquired-after": waiting.acquired(SUBJECT, ID, waited_seconds=92.3, is_nested=False),
    "acquired-nested": waiting.acquired(SUBJECT, ID, waited_seconds=0, is_nested=True),
    "acquired-nested-after": waiting.acquired(SUBJECT, ID, waited_seconds=92.3, is_nested=True),
    "turn_awaited": waiting.turn_awaited(SUBJECT, SIBLING, remaining_seconds=600),
    "turn_awaited-mute": waiting.turn_awaited(SUBJECT, None, remaining_seconds=600),
    "not_our_turn": waiting.not_our_turn(SUBJECT, NOT_OURS, waited_seconds=600.2),
    "outlived": running.outlived(SUBJECT, LEFT[:1]),
    "outlived-many": running.outlived(SUBJECT, LEFT),
    "family_killed": running.family_killed(SUBJECT, LEFT[:2]),
    "unkillable": running.unkillable(SUBJECT, LEFT[:1]),
    "unkillable-local": running.unkillable(LOCAL, LEFT[:1]),
    "unlocked": starting.unlocked("prod/network"),
    "init_delayed": starting.init_delayed("prod/network", "/home/ana/.terraform.d/plugin-cache"),
    "init_without_turn": starting.init_without_turn("prod/network", "/home/ana/.terraform.d/plugin-cache"),
    "unread": starting.unread("prod/network", "only Terraform can be certain how it reads TF_CLI_ARGS_plan"),
    "plan_unlocked": starting.plan_unlocked("prod/network"),
    "denied_during_plan": starting.denied_during_plan(phrases.about("prod/network", DENIED)),
    "nested_ignored": waiting.nested_ignored("prod/network"),
    "credentials_expire": waiting.credentials_expire("prod/network", NOW),
    "initialising": starting.initialising("prod/network", "not initialised"),
    "initialising_in_default": starting.initialising_in_default(SUBJECT.label, "blue"),
    "creating_workspace": starting.creating_workspace("prod/network", "blue"),
    "unlisted_workspaces": starting.unlisted_workspaces(
        "prod/network", "AWS denies s3:ListBucket on bucket tf-state (AccessDenied).", action="s3:ListBucket"
    ),
    "starting_over": starting.starting_over("prod/network", "the workspace is prod now, no longer dev"),
    "always_changing": starting.always_changing("prod/network", "the plan file is another one now"),
    "initialised_meanwhile": starting.initialised_meanwhile("prod/network"),
    "workspace_not_found": starting.workspace_not_found("prod/network", "blue"),
    "init_retried": starting.init_retried("prod/network"),
    "patterns_left_out": starting.patterns_left_out("prod/network"),
    "plan_changed": starting.plan_changed(
        "prod/network",
        f"p1-{'0' * 40}",
        Difference(gone=("aws_vpc.old",), new=("aws_vpc.new",), changed=("aws_a.b", "aws_a.c", "aws_a.d", "aws_a.e")),
        (),
    ),
    "plan_changed-unnamed": starting.plan_changed(
        "prod/network", f"p1-{'0' * 40}", None, ("aws_vpc.main", "output.id")
    ),
    "plan_changed-long": starting.plan_changed(
        "prod/network",
        f"p1-{'0' * 40}",
        Difference(
            gone=('module.network["eu-central-1"].aws_route_table_association.private[0]', "aws_a.b", "aws_a.c"),
            new=('module.network["eu-central-1"].aws_route_table_association.private_of_the_new_zone[0]',),
            changed=("provisioners of module.network.terraform_data.bastion", "output.id"),
        ),
        (),
    ),
    "plan_changed-to-none": starting.plan_changed("prod/network", f"p1-{'0' * 40}", None, ()),
    "plan_unreadable": starting.plan_unreadable("prod/network"),
    "nothing_to_apply": starting.nothing_to_apply("prod/network"),
    "not_approved": starting.not_approved("prod/network"),
    "unexpected": starting.unexpected(ValueError("not\nexpected")),
}

#: Functions that make parts of messages.
PARTS = {
    "standing",
    "ordinal",
    "broken",
    "died",
    "died_again",
    "thread_died",
    "takeover_question",
    "approval_question",
    "live_line",
}


@pytest.mark.parametrize("name", CASES)
def test_each_message_is_what_was_read_and_agreed(name: str) -> None:
    file = SNAPSHOTS / f"{name}.txt"
    if UPDATE:
        file.write_text(CASES[name] + "\n", encoding="utf-8")

    assert file.read_text(encoding="utf-8") == CASES[name] + "\n"


@pytest.mark.parametrize("name", CASES)
def test_each_message_is_at_most_three_lines_that_fit_and_starts_with_its_label(name: str) -> None:
    lines = CASES[name].split("\n")

    assert len(lines) <= 3
    assert all(len(line) <= 120 and line.isprintable() and line == line.strip() for line in lines)
    assert lines[0].startswith(("prod/network", "tf-state/", "network/", "deploy", "sss", "tfguard:"))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "did not wait"), (0.7, "after 1s"), (3.6, "after 3s"), (61.9, "after 61s")]
)
def test_nobody_is_said_to_have_waited_for_longer_than_they_asked(seconds: float, said: str) -> None:
    assert said in waiting.busy(SUBJECT, OURS, NOW, waited_seconds=seconds).splitlines()[0]


def test_every_message_has_a_snapshot_and_every_snapshot_a_message() -> None:
    functions = {
        name
        for module in (waiting, running, starting)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }

    assert {name.partition("-")[0] for name in CASES} == functions - PARTS
    assert {file.stem for file in SNAPSHOTS.glob("*.txt")} == set(CASES)


def test_of_a_program_under_a_named_lock_nothing_is_said_of_terraform_or_a_state() -> None:
    subject = msgspec.structs.replace(NAMED, program=PROGRAM)
    said = (
        running.stopping(subject, "SIGTERM"),
        running.stopping_at_terminal(subject),
        running.still_stopping(subject, "SIGTERM"),
        running.aborting(subject),
        running.warned(subject, 31.2, ""),
        running.freezing(subject, 108.4),
        running.frozen_too_long(subject, 1908.2),
        running.thawed(subject),
        running.timed_out(subject, 2700),
        *(running.lost(subject, kind, OURS, NOW) for kind in ("gone", "another's", "expired")),
        running.lost_unnoticed(subject, "gone"),
        running.family_killed(subject, LEFT[:1]),
        running.died(subject, is_running=True),
        running.died_again(subject),
    )

    assert [text for text in said if re.search(r"[Tt]erraform|\bplan\b|\bstate\b", text)] == []

    of_a_state = msgspec.structs.replace(subject, lock_options="")
    assert running.lost(of_a_state, "gone", None, NOW).endswith("Then compare: tfguard plan")


def test_a_lock_id_from_a_stranger_cannot_become_a_command() -> None:
    hostile = record(lock_id="x; rm -rf ~ #\x1b[31m")

    text = waiting.busy(BARE, hostile, NOW, waited_seconds=1)

    words = shlex.split(text.splitlines()[-1].partition(": ")[2])
    assert words[:3] == ["tfguard", "unlock", "--id"]
    assert len(words) == 4 and words[3].startswith("x; rm -rf ~ #")
    assert "\x1b" not in text


def test_a_command_is_never_cut() -> None:
    subject = Subject("tf-state/app", f"tfguard -chdir={'deep/' * 20}app")

    lines = waiting.busy(subject, OURS, NOW, waited_seconds=1).splitlines()

    assert lines[-1] == f"{subject.command} unlock --id {ID}"


@pytest.mark.parametrize("width", [10, 60, 119, 400])
def test_a_long_label_leaves_room_for_what_is_said_of_it(width: int) -> None:
    label = "bucket/" + "x" * width + "/terraform.tfstate"

    first = running.lost(Subject(label), "gone", None, NOW).splitlines()[0]

    assert len(first) <= 120
    assert first.startswith("bucket/")
    assert first.endswith("the lock was lost: somebody unlocked it while we held it. Terraform is stopped.")


def test_a_holder_keeps_its_age_and_heartbeat_however_long_its_names_are() -> None:
    first = CASES["waiting-long"].splitlines()[0]

    assert first.endswith(", 14 min, heartbeat 4 s ago).")
    assert "a-very-long" in first


def test_a_clock_that_runs_ahead_shows_no_negative_age() -> None:
    text = waiting.waiting(BARE, record(age=-90), NOW, remaining_seconds=1)

    assert "(apply, 0 s, plain Terraform, no heartbeat)" in text
