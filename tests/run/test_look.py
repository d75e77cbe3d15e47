"""
A run's looks at what decides which state Terraform writes, with a front and a Terraform that are simulated.

The directory is real, and so is all that reads it. What Terraform would write is worked out here once more, from what a
Terraform that was started so would read.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.backends.target import Target
from tfguard.config.options import Options
from tfguard.errors import Outcome
from tfguard.guard import messages
from tfguard.guard.signals import Received
from tfguard.lock import protocol, refusals
from tfguard.process.front import Front, Refused
from tfguard.report.messages import phrases
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter
from tfguard.report.run_ended import RunEnded
from tfguard.run import terraform_command
from tfguard.run.call import Call
from tfguard.run.context import Context, make_context
from tfguard.run.session import Session
from tfguard.terraform import command_line

Edit = Callable[[Path], None]
NOTHING: Edit = lambda _: None  # noqa: E731 - a name for the edit that is none


# --- a directory and its edits --------------------------------------------------------------------------------------


def select(workspace: str) -> Edit:
    return lambda root: cast("None", (root / "current/.terraform/environment").write_text(workspace))


def init(key: str) -> Edit:
    def edit(root: Path) -> None:
        config = {"bucket": "b", "key": key, "dynamodb_table": "locks", "region": "eu-west-1"}
        cache = {"version": 3, "backend": {"type": "s3", "config": config, "hash": 1}}
        (root / "current/.terraform/terraform.tfstate").write_text(json.dumps(cache))

    return edit


def plan(key: str) -> Edit:
    def edit(root: Path) -> None:
        config = {"bucket": "b", "key": key, "dynamodb_table": "locks", "region": "eu-west-1"}
        value = _field(1, msgspec.msgpack.encode(config))
        content = _field(13, _field(1, b"s3") + _field(2, value) + _field(3, b"default"))
        with zipfile.ZipFile(root / "current/tfplan", "w") as archive:
            archive.writestr("tfplan", content)
            archive.writestr("key", key)

    return edit


def _field(number: int, data: bytes) -> bytes:
    tag, size, head = number << 3 | 2, len(data), b""
    assert size < 1 << 14
    head += bytes([tag]) if tag < 0x80 else bytes([tag & 0x7F | 0x80, tag >> 7])
    return head + (bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])) + data


def switch(name: str) -> Edit:
    def edit(root: Path) -> None:
        fresh = root / "fresh"
        fresh.symlink_to(name)
        fresh.rename(root / "current")

    return edit


def make_stacks(root: Path) -> Path:
    """Two stacks with a plan each, `current` leads to the first."""
    for name in ("two", "one"):
        (root / name / ".terraform").mkdir(parents=True)
        (root / name / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
        switch(name)(root)
        for edit in (select("default"), init(f"{name}/x"), plan(f"{name}/plan")):
            edit(root)
    terraform = root / "terraform"
    terraform.write_text("#!/bin/sh\necho Terraform v1.11.4\n")
    terraform.chmod(0o755)
    return root


# --- a front and a Terraform ----------------------------------------------------------------------------------------


@dataclass
class FakeFront:
    """
    Grants every lock after the next of `edits` was made: they fall into the wait. `late` falls between our last look
    and Terraform's reading.
    """

    root: Path
    edits: list[Edit]
    late: Edit = NOTHING
    answers: list[protocol.Failed] = field(default_factory=list)
    lost: protocol.Lost | None = None
    stopped_by: Received | None = None
    is_timed_out: bool = False
    is_interactive: bool = False
    last_words: str = ""
    locked: str = ""
    written: list[tuple[str, str]] = field(default_factory=list)
    requests: list[messages.Acquire] = field(default_factory=list)
    captured: list[tuple[str, Sequence[str]]] = field(default_factory=list)

    def acquire(self, request: messages.Acquire) -> protocol.Held:
        assert not self.locked
        self.requests.append(request)
        if self.answers:
            raise Refused(self.answers.pop(0))
        if self.edits:
            self.edits.pop(0)(self.root)
        self.locked = path_of(request.target)
        return protocol.Held(lock_id="id", beat=0, base=0.0)

    def release(self, outcome: str, exit_code: int | None) -> protocol.Released:
        self.locked = ""
        return protocol.Released(result="released")

    def start_over(self) -> None:
        assert not self.locked

    def run(self, argv: Sequence[str], *, directory: str, environ: Mapping[str, str], **_: Any) -> int:
        self.late(self.root)
        self.written.append((self.locked, state_of(argv, directory, environ)))
        return 0

    def run_captured(self, argv: Sequence[str], *, directory: str, environ: Mapping[str, str]) -> tuple[int, str]:
        self.captured.append((directory, argv))
        return 0, ""

    def folder(self) -> str:
        folder = self.root.parent / "own"
        folder.mkdir(exist_ok=True)
        return str(folder)

    def close(self) -> None:
        pass


def path_of(target: Target) -> str:
    (store,) = target.stores
    assert isinstance(store, DynamoDBSpec)
    return store.lock_id


def state_of(argv: Sequence[str], directory: str, environ: Mapping[str, str]) -> str:
    """Work out, as Terraform does, which state it would write that is started so."""
    chdir = next((word[len("-chdir=") :] for word in argv if word.startswith("-chdir=")), ".")
    place = Path(directory, chdir)
    workspace = environ.get("TF_WORKSPACE") or (place / ".terraform/environment").read_text()
    if argv[-1].endswith("tfplan"):
        with zipfile.ZipFile(place / argv[-1]) as archive:
            key = archive.read("key").decode()
    else:
        key = json.loads((place / ".terraform/terraform.tfstate").read_text())["backend"]["config"]["key"]
    return f"b/{key}" if workspace == "default" else f"b/env:/{workspace}/{key}"


def context_at(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str, pipeline: str = "", **environ: str) -> Context:
    monkeypatch.chdir(root)
    given = {"TFGUARD_TERRAFORM": str(root / "terraform"), "HOME": str(root.parent), "PATH": os.defpath, **environ}
    options = Options(command=words, pipeline=pipeline or None, chdir=None if pipeline else "current")
    return make_context(Call(options, given, Reporter("console", -1)))


def run(front: FakeFront, context: Context) -> RunEnded:
    session = Session(cast("Front", front), context, Narrator(context.report, phrases.Subject("x")))
    invocation = command_line.parse(context.options.command, context.environ)
    ended = terraform_command._run(session, invocation)
    assert isinstance(ended, RunEnded)
    return ended


# --- the property ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["default", "dev", "prod"])
KEYS = st.sampled_from(["one/x", "other/x"])
ANY_EDIT = st.one_of(
    NAMES.map(select), KEYS.map(init), KEYS.map(plan), st.sampled_from(["one", "two"]).map(switch), st.just(NOTHING)
)
#: What may still be edited after our last look. Not the backend's cache: see `run.look`.
PINNED_EDIT = st.one_of(NAMES.map(select), KEYS.map(plan), st.sampled_from(["one", "two"]).map(switch))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stacks(tmp_path_factory.mktemp("look") / "stacks")


@given(
    waits=st.lists(st.lists(ANY_EDIT, max_size=3), max_size=7),
    late=st.lists(PINNED_EDIT, max_size=3),
    has_plan=st.booleans(),
)
def test_whatever_is_edited_the_state_that_is_written_is_the_one_that_is_locked(
    stacks: Path, waits: list[list[Edit]], late: list[Edit], has_plan: bool
) -> None:
    root = stacks.parent / "now"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(stacks, root, symlinks=True)

    def at_once(edits: list[Edit]) -> Edit:
        return lambda root: [edit(root) for edit in edits] and None

    front = FakeFront(root, [at_once(edits) for edits in waits], at_once(late))
    with pytest.MonkeyPatch.context() as monkeypatch:
        context = context_at(root, monkeypatch, "apply", *(["tfplan"] if has_plan else []))

        ended = run(front, context)

    assert not front.locked
    if ended.outcome is Outcome.SUCCEEDED:
        ((locked, written),) = front.written
        assert locked == written
    else:
        assert (ended.exit_code, front.written) == (78, [])


@pytest.mark.parametrize("is_late", [True, False])
def test_a_pipeline_behind_a_link_writes_what_is_locked(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    (root / "tfguard.yml").write_text("version: 1\npipelines:\n  it: {dir: current}\n")
    front = FakeFront(root, [NOTHING if is_late else switch("two")], switch("two") if is_late else NOTHING)

    ended = run(front, context_at(root, monkeypatch, "apply", pipeline="it"))

    state = "b/one/x" if is_late else "b/two/x"
    assert (ended.exit_code, front.written) == (0, [(state, state)])


# --- single claims --------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_stacks(tmp_path / "stacks")


@pytest.mark.parametrize(
    ("edit", "words", "said", "written"),
    [
        (select("prod"), (), "the workspace is prod now, no longer default", "b/env:/prod/one/x"),
        (init("other/x"), (), "the directory is initialised for another backend now", "b/other/x"),
        (plan("other/x"), ("tfplan",), "the plan file is another one now", "b/other/x"),
        (switch("two"), (), "the directory is another one now", "b/two/x"),
    ],
)
def test_a_run_starts_over_and_says_why(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    edit: Edit,
    words: tuple[str, ...],
    said: str,
    written: str,
) -> None:
    front = FakeFront(root, [edit])
    context = context_at(root, monkeypatch, "apply", *words)
    context.report.verbosity = 0

    ended = run(front, context)

    assert ended.exit_code == 0
    assert f"{said}: giving back the lock and starting over." in capfd.readouterr().err
    assert front.written == [(written, written)]


@pytest.mark.parametrize("edit", [init("other/x"), NOTHING])
def test_a_plan_is_applied_whatever_the_directory_is_initialised_for(
    root: Path, monkeypatch: pytest.MonkeyPatch, edit: Edit
) -> None:
    front = FakeFront(root, [edit])

    run(front, context_at(root, monkeypatch, "apply", "tfplan"))

    assert len(front.requests) == 1
    assert front.written == [("b/one/plan", "b/one/plan")]


@pytest.mark.parametrize(("late", "is_told"), [(init("other/x"), True), (select("prod"), False)])
def test_a_backend_that_is_initialised_while_terraform_starts_is_told_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], late: Edit, *, is_told: bool
) -> None:
    """It cannot be pinned: see `run.look`."""
    front = FakeFront(root, [], late)
    context = context_at(root, monkeypatch, "apply")
    context.report.verbosity = 0

    ended = run(front, context)

    assert ended.exit_code == 0
    assert ("was initialised for another backend while Terraform ran" in capfd.readouterr().err) == is_told


def test_a_directory_that_never_rests_ends_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front = FakeFront(root, [select(f"w{number}") for number in range(99)])

    ended = run(front, context_at(root, monkeypatch, "apply"))

    assert (ended.exit_code, ended.outcome, front.written) == (78, Outcome.CONFIG_ERROR, [])
    assert len(front.requests) == 5
    assert not front.locked


def test_a_directory_that_is_gone_ends_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(root: Path) -> None:
        (root / "current").unlink()

    front = FakeFront(root, [remove])

    ended = run(front, context_at(root, monkeypatch, "apply"))

    assert (ended.exit_code, front.written, front.locked) == (78, [], "")


def test_all_rounds_together_wait_no_longer_than_is_allowed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front = FakeFront(root, [select("dev"), select("prod")])

    run(front, context_at(root, monkeypatch, "apply", "-lock-timeout=7m"))

    left = [request.terms.timeout_seconds for request in front.requests]
    assert left[0] <= 420
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3


def test_a_lock_that_is_lost_by_the_second_look_is_not_taken_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front = FakeFront(root, [])

    def lose(root: Path) -> None:
        select("prod")(root)
        front.lost = protocol.Lost(kind="gone")

    front.edits.append(lose)

    ended = run(front, context_at(root, monkeypatch, "apply"))

    assert (ended.outcome, len(front.requests), front.written) == (Outcome.LOCK_LOST, 1, [])


def test_a_run_that_is_stopped_while_it_gives_back_the_lock_takes_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = FakeFront(root, [select("prod")])
    release = front.release

    def stop(outcome: str, exit_code: int | None) -> protocol.Released:
        front.stopped_by = Received(signal.SIGINT)
        return release(outcome, exit_code)

    monkeypatch.setattr(front, "release", stop)

    ended = run(front, context_at(root, monkeypatch, "apply"))

    assert (ended.outcome, ended.exit_code, len(front.requests)) == (Outcome.INTERRUPTED, 130, 1)


# --- a workspace that is missing ------------------------------------------------------------------------------------


def test_a_workspace_is_created_where_terraform_works(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front = FakeFront(root, [], answers=[protocol.Failed(why=refusals.NoWorkspace())])

    ended = run(front, context_at(root, monkeypatch, "apply", TF_WORKSPACE="new"))

    assert ended.exit_code == 0
    ((directory, (_, chdir, *words)),) = front.captured
    assert Path(directory).samefile(root) and directory != "."
    assert (chdir, words) == (f"-chdir={root / 'one'}", ["output", "-no-color", "-json"])


def test_a_workspace_that_is_not_found_after_its_creation_ends_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = FakeFront(root, [], answers=[protocol.Failed(why=refusals.NoWorkspace())] * 99)

    ended = run(front, context_at(root, monkeypatch, "apply", TF_WORKSPACE="new"))

    assert (ended.exit_code, front.written) == (78, [])
    assert len(front.captured) == 2


# --- the copy of a plan ---------------------------------------------------------------------------------------------


def test_the_copy_of_a_plan_is_ours_alone_and_in_the_runs_own_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []
    front = FakeFront(root, [])

    def note(argv: Sequence[str], **_: Any) -> int:
        copy = Path(argv[-1])
        seen.append((copy.stat().st_mode & 0o777, str(copy)))
        return 0

    monkeypatch.setattr(front, "run", note)

    run(front, context_at(root, monkeypatch, "apply", "tfplan"))

    assert seen == [(0o600, f"{front.folder()}/tfplan")]


def test_a_plan_that_cannot_be_copied_is_not_applied(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    front = FakeFront(root, [])
    context = context_at(root, monkeypatch, "apply", "tfplan")
    context.report.verbosity = 0

    ended = run(front, context)

    assert (ended.exit_code, front.written, front.locked) == (78, [], "")
    assert "No space left on device" in capfd.readouterr().err


def test_the_simulated_terraform_reads_what_a_real_one_reads(tmp_path: Path) -> None:
    """The order of TF_WORKSPACE and the selected workspace, and which file a plan is read from."""
    (tmp_path / "main.tf").write_text('output "it" {\n  value = terraform.workspace\n}\n')
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform/environment").write_text("dev")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}

    def shown(**more: str) -> str:
        words = ["terraform", f"-chdir={tmp_path}", "workspace", "show"]
        return subprocess.run(words, env={**environ, **more}, capture_output=True, text=True).stdout.strip()

    assert (shown(), shown(TF_WORKSPACE="prod")) == ("dev", "prod")


# --- a push of what Terraform could not save ------------------------------------------------------------------------


def test_a_push_reads_the_backend_that_was_locked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "one/.terraform/modules").mkdir()
    found: list[tuple[str, list[str], int]] = []
    front = FakeFront(root, [])

    def note(*_: Any, **__: Any) -> int:
        init("other/x")(root)
        rescue = front.requests[0].rescue
        assert rescue is not None
        data = Path(rescue.environ["TF_DATA_DIR"])
        key = json.loads((data / "terraform.tfstate").read_text())["backend"]["config"]["key"]
        found.append((key, sorted(path.name for path in data.iterdir()), data.stat().st_mode & 0o777))
        return 0

    monkeypatch.setattr(front, "run", note)

    run(front, context_at(root, monkeypatch, "apply"))

    assert found == [("one/x", ["environment", "modules", "terraform.tfstate"], 0o700)]


def test_a_pipeline_is_initialised_again_where_that_was_undone_meanwhile(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "tfguard.yml").write_text("version: 1\npipelines:\n  it: {dir: one}\n")
    front = FakeFront(root, [lambda root: (root / "one/.terraform/terraform.tfstate").unlink()])
    context = context_at(root, monkeypatch, "apply", pipeline="it")
    ran: list[list[str]] = []

    def note(argv: list[str], **_: Any) -> int:
        ran.append(argv[1:])
        if argv[1] == "init":
            init("one/x")(root)
        return 0

    monkeypatch.setattr(front, "run", note)

    ended = run(front, context)

    assert ended.exit_code == 0
    assert [words[0] for words in ran] == ["init", "apply"]
