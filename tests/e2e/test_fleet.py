"""Many locks at a glance."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.conftest import TFGUARD, Backend, Stage
from tests.e2e.operated import guarded, kill_all_of, plain
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


def looks(made: Stage, *words: str, code: int = 0) -> dict[str, Any]:
    result = made.tfguard("status", *words, "--json")
    assert result.code == code, str(result)
    return {each["label"]: each for each in json.loads(result.out)}


def test_status_of_all_shows_each_pipeline_and_what_nobody_knows(stage: Make) -> None:
    made = stage("dynamodb")
    (made.path / "new").mkdir()
    (made.path / "new" / "main.tf").write_text(made.backend_block())
    (made.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n  a: {dir: .}\n  b: {dir: new}\n  c: {dir: ., workspace: '${UNSET}'}\n"
    )
    # `a` and `c` share a directory, so each has its own data directory below `.terraform`.
    (made.path / ".terraform" / "pipelines" / "a").mkdir(parents=True)
    shutil.copy(made.path / ".terraform" / "terraform.tfstate", made.path / ".terraform" / "pipelines" / "a")

    with guarded(made):
        found, text = looks(made, "--all", code=1), made.tfguard("status", "--all")

    assert [each["is_held"] for each in found.values()] == [True, True, None]
    assert "UNSET is not set" in found["c"]["problem"]
    assert found["a"]["locks"][0]["command"] == "apply"
    assert found["b"]["source"].startswith("not initialised: worked out from its files")
    assert text.code == 1
    assert text.out.splitlines()[0].split()[:2] == ["LOCK", "STATE"]
    assert not (made.path / "new" / ".terraform").exists()


def fresh_clone(made: Stage) -> Stage:
    """What the repository has, and nothing else: no init, and no Terraform on the PATH."""
    path = made.path.parent / "clone"
    path.mkdir()
    for file in (*made.path.glob("*.tf"), made.path / "tfguard.yml"):
        shutil.copy(file, path)
    return replace(made, path=path, environ={**made.environ, "PATH": "/nowhere"})


def test_whoever_looks_or_works_by_hand_needs_neither_init_nor_terraform(stage: Make) -> None:
    made = stage("both", is_initialised=False)
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  a: {dir: ., workspace: blue}\n")
    clone = fresh_clone(made)

    held = clone.tfguard("hold", "a", "--reason", "moving")
    lock = looks(clone, "--all")["a"]["locks"][0]
    shown, doctor = clone.tfguard("status", "a"), clone.tfguard("doctor", "a", "--json")
    page = clone.tfguard("status", "--all", "--html", "locks.html")
    unlocked = clone.tfguard("unlock", "a", "--id", lock["id"], "--yes")
    runs = json.loads(clone.tfguard("history", "a", "--json").out)["runs"]

    assert held.code == 0, str(held)
    assert "source    not initialised: worked out from its files (backend s3, workspace blue)" in shown.out
    findings = {each["check"]: each for each in json.loads(doctor.out)["findings"]}
    assert (findings["binary"]["mark"], findings["directory"]["advice"]) == ("failure", "tfguard -p a init")
    assert "the lock can be read, and is held" in findings["lock"]["says"]
    assert (page.code, page.out) == (0, ""), str(page)
    assert "held by hand until" in (clone.path / "locks.html").read_text()
    assert clone.tfguard("status", "--all", "--html", "no/such/locks.html").code == 64
    assert clone.tfguard("status", "--html", "locks.html").code == 64
    assert unlocked.code == 0, str(unlocked)
    assert runs[0]["command"] == "hold"
    assert made.leftovers() == []
    assert not (clone.path / ".terraform").exists()


def of_screen(text: str, label: str) -> str:
    """The command with which the row of a lock ends."""
    row = next(line for line in text.splitlines() if line.startswith(f"{label} "))
    return row[row.index("tfguard ") :]


def test_three_stuck_locks_are_free_after_the_three_commands_that_the_screen_names(stage: Make) -> None:
    import pexpect

    made = stage("dynamodb", is_initialised=False)
    keys = {"dead": "always", "plain": "always", "refused": "never"}
    lines = [
        f"  {name}: {{dir: ., backend_config: {{key: {name}}}, lock: {{takeover: {policy}}}}}"
        for name, policy in keys.items()
    ]
    (made.path / "tfguard.yml").write_text("\n".join(["version: 1", "pipelines:", *lines]) + "\n")
    clone = fresh_clone(made)
    data = {"TF_DATA_DIR": "plain-data"}
    assert made.terraform("init", "-input=false", "-backend-config=key=plain", **data).code == 0
    with ExitStack() as stack:
        for name in ("dead", "refused"):
            kill_all_of(stack.enter_context(guarded(made, "-p", name, lease="9s")))
        kill_all_of(stack.enter_context(plain(made, **data)))

    def stuck() -> str:
        shown = clone.tfguard("status", "--all")
        assert shown.code in (0, 3), str(shown)
        return shown.out if shown.code == 3 and "the next run will take over" in shown.out else ""

    screen = eventually(stuck, 60, "both leases expire")
    for name in keys:
        words = shlex.split(of_screen(screen, name))
        child = pexpect.spawn(
            TFGUARD[0], [*TFGUARD[1:], *words[1:]], cwd=clone.path, env=clone.environ, timeout=patience(30)
        )
        child.expect("Only 'yes' is accepted: ")
        child.sendline("yes")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0, (words, child.before)

    after = clone.tfguard("status", "--all")
    assert after.code == 0, str(after)
    assert made.leftovers() == []


def test_hold_doctor_and_history_are_about_those_pipelines_that_match(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)
    lines = [f"  {name}: {{dir: ., backend_config: {{key: {name}}}}}" for name in ("prod/a", "prod/eu/b", "dev/a")]
    (made.path / "tfguard.yml").write_text("\n".join(["version: 1", "pipelines:", *lines]) + "\n")
    assert made.tfguard("hold", "prod/a", "--reason", "first").code == 0

    held = made.tfguard("hold", "--all", "--match", "prod/*", "--reason", "moving")
    found = looks(made, "--all")
    doctor = json.loads(made.tfguard("doctor", "--match", "prod/*", "--json").out)
    for each in found.values():
        for lock in each["locks"]:
            assert made.tfguard("unlock", each["label"], "--id", lock["id"], "--yes").code == 0
    runs = json.loads(made.tfguard("history", "--all", "--json").out)

    assert held.code == 1, str(held)
    assert "prod/a: not held: it is held by" in held.err and "1 of 2 are held by hand now" in held.err
    assert [found[name]["is_held"] for name in ("prod/a", "prod/eu/b", "dev/a")] == [True, True, False]
    assert [each["label"] for each in doctor] == ["prod/a", "prod/eu/b"]
    assert {each["check"] for each in doctor[1]["findings"]} >= {"directory", "lock"}
    assert [(each["label"], len(each["runs"])) for each in runs] == [("prod/a", 1), ("prod/eu/b", 1), ("dev/a", 0)]
    assert "prod/eu/b" in made.tfguard("history", "--all").out
    assert made.tfguard("status", "--match", "stage/*").code == 64


def test_a_watch_tells_what_changes_until_ctrl_c(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  a: {dir: .}\n")
    process = made.start_tfguard("status", "--all", "--watch")
    assert process.stdout is not None

    first = process.stdout.readline()
    assert made.tfguard("hold", "a", "--reason", "moving").code == 0
    second = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=patience(20))

    assert first.split()[1:3] == ["a", "free"]
    assert second.split()[1:3] == ["a", "held"]
    assert process.returncode in (130, -signal.SIGINT)


def test_by_hand_nothing_is_done_to_a_lock_that_may_not_be_the_one_that_is_meant(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    refused = made.tfguard("hold", "--reason", "moving")
    named = made.tfguard("hold", "--reason", "moving", TF_WORKSPACE="default")

    assert (refused.code, named.code) == (64, 0), f"{refused}{named}"
    assert "nothing names the workspace: set TF_WORKSPACE" in refused.err
    assert "uncertain nothing names the workspace" in made.tfguard("status").out
    assert made.tfguard("unlock", "--yes").code == 64


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both"])
def test_status_of_a_backend_shows_every_lock_there_ours_or_not(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    info = json.dumps({"ID": "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", "Who": "bob@laptop", "Operation": "taint"})
    if made.dynamodb:
        item = {"LockID": {"S": "elsewhere/x.tfstate"}, "Info": {"S": info}}
        made.dynamodb.client.put_item(TableName=made.table, Item=item)
    else:
        made.s3.client.put_object(Bucket=made.bucket, Key="x.tfstate.tflock", Body=info.encode())

    with guarded(made):
        found = looks(made, "--backend")

    others = [each for label, each in found.items() if label.endswith("x.tfstate")]
    assert [each["locks"][0]["verdict"] for each in others] == ["plain"]
    assert found[f"{made.bucket}/{made.key}"]["locks"][0]["verdict"] == "alive"
    assert len(found) == 2


def test_a_backend_without_locks_says_so(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("status", "--backend")

    assert (result.code, result.out) == (0, "No lock is held there.\n")


@pytest.mark.parametrize("words", [("--all", "--backend"), ("--all", "prod")])
def test_what_excludes_each_other_is_said(stage: Make, words: tuple[str, ...]) -> None:
    made = stage("local", is_initialised=False)

    result = made.tfguard("status", *words)

    assert result.code == 64
    assert "exclude each other" in result.err


def test_without_a_file_there_are_no_pipelines(stage: Make) -> None:
    made = stage("local", is_initialised=False)

    result = made.tfguard("status", "--all")

    assert result.code == 78
    assert "no tfguard.yml" in result.err


def test_a_hundred_pipelines_are_read_at_once(stage: Make) -> None:
    made = stage("dynamodb")
    lines = ["version: 1", "pipelines:"]
    for number in range(100):
        folder = made.path / f"s{number}"
        shutil.copytree(made.path / ".terraform", folder / ".terraform")
        (folder / "backend.tf").write_text(made.backend_block())
        lines.append(f"  p{number}: {{dir: s{number}}}")
    (made.path / "tfguard.yml").write_text("\n".join(lines) + "\n")

    found = looks(made, "--all")

    assert [each["is_held"] for each in found.values()] == [False] * 100


def test_a_dead_holder_that_is_left_to_a_person_is_told_as_that_and_how_it_is_freed(stage: Make) -> None:
    made = stage("dynamodb")
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  a: {dir: ., lock: {takeover: never}}\n")
    assert made.tfguard("-p", "a", "init", "-input=false").code == 0
    with guarded(made) as process:
        kill_all_of(process)

    eventually(lambda: made.tfguard("status", "--all").code == 3, 60, "the lease expires")
    found = json.loads(made.tfguard("status", "--all", "--json").out)[0]["locks"][0]
    refused = made.tfguard("-p", "a", "--report", "r.json", "apply", "-auto-approve")

    mend = f"tfguard -p a unlock --id {found['id']}"
    assert (found["needs_person"], found["mend"]) == (True, mend)
    assert found["says"] == "expired: left for a person (lock.takeover: never)"
    assert mend in made.tfguard("status", "--all").out
    assert refused.code == 75, str(refused)
    assert "has died; lock.takeover forbids a takeover" in refused.err and mend in refused.err
    assert json.loads((made.path / "r.json").read_text())["outcome"] == "takeover-refused"
    assert made.tfguard("-p", "a", "unlock", "--id", found["id"], "--yes").code == 0
    assert made.tfguard("status", "--all").code == 0
