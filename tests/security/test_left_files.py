"""
What we leave for a later step is believed again only if we have left it.

Who else may have: a branch, by committing it; an earlier job in the same checkout; another user of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.e2e.conftest import Result, Stage
from tests.jobfiles.test_run_record import a_record
from tests.security.obeyed import obeyed
from tests.security.test_parsers import UNCLEAN
from tfguard import files
from tfguard.ci import platforms
from tfguard.clock import boot_id, own_mark, pid_namespace
from tfguard.jobfiles import own_file, run_record, story
from tfguard.jobfiles.story import Story
from tfguard.jobfiles.transcript import Transcript

NAME = f"{'0' * 32}.json"
GITLAB = {"GITLAB_CI": "true", "CI_JOB_ID": "7", "CI_JOB_TOKEN": "glcbt-of-job-7", "CI_SERVER_URL": "https://gitlab"}
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'
Make = Callable[..., Stage]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "runs"
    place.mkdir(mode=0o700)
    return place


def in_job(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    """From now on this process is one of that GitLab job."""
    monkeypatch.setattr(own_file, "_secret", b"")  # Who comes after is of no job again.
    own_file.remember_job({**GITLAB, "CI_PROJECT_DIR": "/x", **environ})


# --- files and folders ----------------------------------------------------------------------------------------------


def _links(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _links_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to(path.parent.with_name("real"))


def _is_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _is_long(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b" " * 9 * 1024 * 1024)


#: What makes a file one that somebody else may have written.
STRANGE: dict[str, Callable[[Path], object]] = {
    "readable by others, as git makes it": lambda path: path.chmod(0o644),
    "writable by the group": lambda path: path.chmod(0o620),
    "in a folder that others write to": lambda path: path.parent.chmod(0o777),
    "in a folder of the group's": lambda path: path.parent.chmod(0o770),
    "a link": _links,
    "in a folder behind a link": _links_folder,
    "a fifo": _is_fifo,
    "too long": _is_long,
}
CHANGED_OWNER = {
    "another's": lambda path: os.chown(path, 1234, 1234),
    "in another's folder": lambda path: os.chown(path.parent, 1234, 1234),
}


def _find_text(path: Path) -> Transcript | None:
    found = Transcript.find(path.with_suffix(run_record.TEXT_SUFFIX))
    if found is not None:
        found.close()
    return found


READERS: dict[str, Callable[[Path], object]] = {
    ".json": run_record.read,
    run_record.STORY_SUFFIX: story.read,
    run_record.TEXT_SUFFIX: _find_text,
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("how", [*STRANGE, *CHANGED_OWNER])
def test_what_somebody_else_may_have_written_is_not_believed(folder: Path, how: str, kind: str) -> None:
    if how in CHANGED_OWNER and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    if kind == run_record.TEXT_SUFFIX and ("folder" in how or "long" in how):
        pytest.skip("what was printed commands nothing, and is not read without the story beside it")
    run_record.write(folder / NAME, a_record())
    Story(label="x").save(folder / NAME)
    Transcript.create((folder / NAME).with_suffix(run_record.TEXT_SUFFIX)).close()
    assert READERS[kind](folder / NAME) is not None

    {**STRANGE, **CHANGED_OWNER}[how]((folder / NAME).with_suffix(kind))

    assert READERS[kind](folder / NAME) is None


def test_the_cache_of_versions_is_believed_only_if_it_is_ours(tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "versions.json"
    files.make_folder(cache.parent)
    files.write(cache, b"{}")

    assert files.read_own(cache, 100) == b"{}"
    cache.chmod(0o666)
    assert files.read_own(cache, 100) is None


def test_without_a_home_nothing_is_kept_in_a_folder_that_another_user_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = run_record.folder({})

    assert place.parent == tmp_path
    assert str(os.geteuid()) in place.name
    if os.geteuid() == 0:
        place.mkdir(mode=0o777)
        os.chown(place, 1234, 1234)
        with pytest.raises(PermissionError):
            run_record.write(place / NAME, a_record())


# --- a job's seal ---------------------------------------------------------------------------------------------------


def test_a_record_is_read_by_its_own_job_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch)
    run_record.write(folder / NAME, a_record())
    Story(label="x").save(folder / NAME)

    assert run_record.read(folder / NAME) == a_record()
    assert story.read(folder / NAME) is not None
    for other in ({"CI_JOB_ID": "8"}, {"CI_JOB_TOKEN": "glcbt-of-job-8"}, {"CI_SERVER_URL": "https://other"}):
        in_job(monkeypatch, **other)
        assert run_record.read(folder / NAME) is None, other
        assert story.read(folder / NAME) is None, other


def test_a_seal_is_of_one_file_and_of_all_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch)
    run_record.write(folder / NAME, a_record())
    sealed = (folder / NAME).read_bytes()

    for content in (sealed[:-65], sealed.replace(b"prod", b"dev!"), sealed + b"\n", b"", sealed[-65:], b"x" * 65):
        files.write(folder / NAME, content)
        assert run_record.read(folder / NAME) is None, content
    files.write(folder / f"{'1' * 32}.json", sealed)
    assert run_record.read(folder / f"{'1' * 32}.json") is None
    assert b"glcbt" not in sealed


def test_where_the_folder_is_the_jobs_own_there_is_no_seal() -> None:
    assert platforms.job_secret({"RUNNER_TEMP": "/t", **GITLAB, "CI_PROJECT_DIR": "/x"}) == b""
    assert platforms.job_secret({**GITLAB, "CI_PROJECT_DIR": "/x"}) != b""
    assert platforms.job_secret({**GITLAB, "CI_PROJECT_DIR": "/x", "TFGUARD_RECORDS": "/mine"}) == b""


# --- links that came with a checkout --------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [".tfguard", ".tfguard/runs"])
def test_a_link_of_the_checkout_leads_nothing_of_ours_elsewhere(tmp_path: Path, link: str) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for each in (project, elsewhere):
        each.mkdir()
    (elsewhere / ".gitignore").write_text("precious")
    (project / link).parent.mkdir(exist_ok=True)
    (project / link).symlink_to(elsewhere)
    environ = {**GITLAB, "CI_PROJECT_DIR": str(project), "TFGUARD_CI_LOG": "1"}
    record = run_record.folder(environ) / NAME

    with pytest.raises(OSError, match=r"symbolic|directory"):
        run_record.write(record, a_record())
    transcript = Transcript.create(record.with_suffix(run_record.TEXT_SUFFIX))
    transcript.write(b"secret")
    transcript.close()
    if link == ".tfguard":
        with pytest.raises(OSError, match=r"symbolic|directory"):
            platforms.PLATFORMS["gitlab"](environ).make_plan_folder()

    assert [path.name for path in elsewhere.iterdir()] == [".gitignore"]
    assert (elsewhere / ".gitignore").read_text() == "precious"


# --- settle ---------------------------------------------------------------------------------------------------------

EVIL = "prod\x1b]0;owned\x07\n::set-output name=x::owned ##[error]x"
LIVING = {"beat": 7, "duration_ms": 600_000, "holder": {"who": "ana@ci-7"}, "boot": "another machine", "sent": 1e9}


@pytest.fixture
def project(stage: Make) -> Stage:
    """A GitLab project's checkout, with the record of a run of job 7 that has ended."""
    made = stage("dynamodb", text=STILL)
    made.environ |= {**GITLAB, "CI_PROJECT_DIR": str(made.path)}
    assert made.tfguard("apply", "-auto-approve", "-input=false").code == 0
    subprocess.run(["git", "init", "-q", str(made.path)], check=True)
    return made


def take(made: Stage, lease: dict[str, object] | None) -> str:
    """Somebody else's lock on this very state; returns its ID."""
    info = {"ID": "0aaf67c2", "Operation": "apply", "Who": "ana@ci-7", "Created": "2026-11-20T21:17:33Z"}
    item = {"LockID": {"S": f"{made.bucket}/{made.key}"}, "Info": {"S": json.dumps(info)}}
    if lease:
        item |= {"TfguardBeat": {"N": "7"}, "TfguardLease": {"S": json.dumps(lease)}}
    made.dynamodb.client.put_item(TableName=made.table, Item=item)
    return info["ID"]


def forged(made: Stage, lock_id: str) -> tuple[Path, bytes]:
    """Where a record is, and one that says this lock is of a run which was killed here."""
    (path,) = (made.path / ".tfguard" / "runs").glob("*.json")
    genuine = json.loads(path.read_bytes().partition(b"\n")[0])
    genuine |= {"lock_id": lock_id, "release": "", "outcome": "", "label": EVIL}
    return path, msgspec.json.encode(genuine)


def settle(made: Stage, **environ: str) -> Result:
    result = made.tfguard("settle", "--timeout", "0s", **environ)
    assert not UNCLEAN.search(result.err), repr(result.err)
    assert obeyed(result.err) == []
    return result


def test_settle_obeys_no_record_that_another_may_have_written(
    project: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = forged(project, take(project, None))
    in_job(monkeypatch, CI_JOB_ID="6", CI_JOB_TOKEN="glcbt-of-job-6")
    other_job = content + own_file._seal(path.name, content)

    for written, mode in ((content, 0o644), (content, 0o600), (other_job, 0o600)):
        path.write_bytes(written)
        path.chmod(mode)
        result = settle(project)
        assert result.code == 0, str(result)
        assert "not settled" in result.err
        assert [each["ID"] for each in project.locks()] == ["0aaf67c2"]

    # Where there is no seal, as outside of GitLab: what is committed, though it looks private.
    path.chmod(0o600)
    path.write_bytes(content)
    records = {"TFGUARD_RECORDS": str(path.parent)}
    subprocess.run(["git", "-C", str(project.path), "add", "-f", str(path)], check=True)
    result = settle(project, **records)
    assert "not settled" in result.err, str(result)
    assert project.locks()


#: A living run of another job on this very machine, whatever a record says of its processes.
NEIGHBOUR = {**LIVING, "boot": boot_id(), "sender": own_mark()}


@pytest.mark.parametrize(
    ("lease", "why"),
    [
        (None, "no lease"),
        ({**LIVING, "hold_until": "2126-01-01T00:00:00Z"}, "no lease"),
        (LIVING, "had not run out"),
        (NEIGHBOUR, "had not run out"),
        ({**NEIGHBOUR, "sender": ""}, "had not run out"),
        ({**NEIGHBOUR, "sender": "pid:[1]/1/1"}, "had not run out"),
    ],
    ids=["plain", "a hold", "elsewhere", "a neighbour", "of nobody", "in another container"],
)
def test_settle_frees_no_lock_that_may_be_alive(
    project: Stage, monkeypatch: pytest.MonkeyPatch, lease: dict[str, object] | None, why: str
) -> None:
    path, content = forged(project, take(project, lease))
    in_job(monkeypatch)
    own_file.write(path, content)

    result = settle(project)

    assert result.code == 75, str(result)
    assert why in result.err
    assert project.locks()


def test_a_record_of_this_job_is_settled(project: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    dead = f"{pid_namespace()}/{gone.pid}/1"
    path, content = forged(project, take(project, {**NEIGHBOUR, "sender": dead}))
    in_job(monkeypatch)
    own_file.write(path, content)

    result = settle(project)

    assert result.code == 0, str(result)
    assert project.locks() == []
