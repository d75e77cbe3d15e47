"""The line, with real processes: order, the dead, what people see of it, what the history keeps."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import BACKENDS, TFGUARD, Backend, Stage
from tests.e2e.operated import kill_all_of
from tests.e2e.running import Running, running
from tests.support.eventually import eventually, patience
from tests.support.unhurried import UNHURRIED

pytestmark = pytest.mark.e2e

#: Writes its runner's name, so that the order is seen.
NAMED = """
variable "runner" {}
variable "hold" {
  default = 0
}
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "echo ${var.runner} >> order; until [ ! -e ${var.runner}.wait ]; do sleep 0.05; done; sleep ${var.hold}"
  }
}
"""


def queue(stage: Stage) -> dict[str, Any]:
    """The queue record as stored, empty if there is none."""
    if stage.backend in ("dynamodb", "both"):
        item = stage.dynamodb.item(stage.table, f"{stage.bucket}/{stage.key}.tfguard")
        return json.loads(item["Queue"]["S"]) if item else {}
    if stage.backend == "s3":
        body = stage.s3.body(stage.bucket, f"{stage.key}.tfguard")
        return json.loads(json.loads(body)["queue"]) if body else {}
    path = stage.path / ".terraform.tfstate.tfguard"
    return json.loads(json.loads(path.read_text())["queue"]) if path.exists() else {}


def order(stage: Stage) -> list[str]:
    path = stage.path / "order"
    return path.read_text().split() if path.exists() else []


def wait_for_tickets(stage: Stage, count: int) -> list[dict[str, Any]]:
    return eventually(lambda: _exactly(queue(stage).get("tickets", []), count), 60, f"{count} tickets")


def _exactly(tickets: list[dict[str, Any]], count: int) -> list[dict[str, Any]] | None:
    return tickets if len(tickets) == count else None


def start(
    stage: Stage, name: str, launcher: Sequence[str] = TFGUARD, **environ: str
) -> AbstractContextManager[Running]:
    return running(stage.start([*launcher, "apply", "-auto-approve"], TF_VAR_runner=name, **environ))


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_came_first_is_served_first(stage: Callable[..., Stage], backend: Backend) -> None:
    made = stage(backend, text=NAMED)
    (made.path / "holder.wait").touch()

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        with start(made, "first", UNHURRIED) as first:
            wait_for_tickets(made, 1)
            with start(made, "second", UNHURRIED) as second:
                wait_for_tickets(made, 2)
                (made.path / "holder.wait").unlink()
                results = [each.end() for each in (holder, first, second)]

    assert [result.code for result in results] == [0, 0, 0], str(results)
    assert order(made) == ["holder", "first", "second"]
    record = queue(made)
    assert record.get("tickets", []) == []
    assert [(run["token"], run["outcome"], run["exit_code"]) for run in record["runs"]] == [
        (1, "succeeded", 0),
        (2, "succeeded", 0),
        (3, "succeeded", 0),
    ]
    assert record["runs"][1]["waited_s"] > 0


def test_a_waiter_killed_with_its_keeper_holds_nobody_up(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=NAMED)
    (made.path / "holder.wait").touch()

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        doomed = made.start_tfguard("apply", "-auto-approve", TF_VAR_runner="doomed")
        wait_for_tickets(made, 1)
        with start(made, "second") as second:
            wait_for_tickets(made, 2)
            kill_all_of(doomed)
            (made.path / "holder.wait").unlink()
            results = [holder.end(), second.end()]

    assert [result.code for result in results] == [0, 0]
    assert order(made) == ["holder", "second"]
    assert queue(made).get("tickets", []) == []


def test_a_waiter_that_is_stopped_leaves_the_line(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=NAMED)
    (made.path / "holder.wait").touch()

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        with start(made, "stopped") as stopped:
            wait_for_tickets(made, 1)
            os.kill(stopped.pid, signal.SIGTERM)
            code = stopped.end().code
        eventually(lambda: not queue(made).get("tickets"), 60, "an empty line")
        (made.path / "holder.wait").unlink()
        holder.end()

    assert code == -signal.SIGTERM
    assert order(made) == ["holder"]


def test_with_order_none_there_is_no_line(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=NAMED)
    made.environ["TFGUARD_LOCK_ORDER"] = "none"
    (made.path / "holder.wait").touch()

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        with start(made, "other", TFGUARD_LOCK_TIMEOUT="2m") as other:
            (made.path / "holder.wait").unlink()
            results = [holder.end(), other.end()]

    assert [result.code for result in results] == [0, 0]
    assert "last_number" not in queue(made)


def test_in_ci_the_place_in_line_is_said(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=NAMED)
    (made.path / "holder.wait").touch()

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        with start(made, "waiter", CI="true") as waiter:
            wait_for_tickets(made, 1)
            (made.path / "holder.wait").unlink()
            holder.end()
            said = waiter.end().err

    assert "You are 1st of 1. Waiting up to" in said


def test_on_a_terminal_one_line_shows_the_holder_and_our_place(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb", text=NAMED)
    (made.path / "holder.wait").touch()
    environ = {**made.environ, "TF_VAR_runner": "watcher", "TERM": "xterm-256color"}

    with start(made, "holder") as holder:
        eventually(lambda: order(made) == ["holder"], 60)
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "tfguard", "apply", "-auto-approve"],
            cwd=str(made.path),
            env=environ,
            encoding="utf-8",
            timeout=patience(10),
            dimensions=(40, 200),
        )
        terminal.expect(r"⏳ .*app/terraform.tfstate · held by .* · apply · .*heartbeat .* ago · you are 1st of 1")
        (made.path / "holder.wait").unlink()
        holder.end()
        terminal.expect("Apply complete!")
        terminal.expect(pexpect.EOF)
        terminal.close()

    assert terminal.exitstatus == 0
