"""The last step of a job: whatever its runs have left, the lock comes free."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.e2e.conftest import BACKENDS, SHORT_LEASE, Backend, Stage
from tests.e2e.operated import guarded, kill_all_of, kill_front_of, kill_guards_of, plain
from tfguard.jobfiles import run_record

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
REMOTE: tuple[Backend, ...] = ("dynamodb", "s3", "both")
LONG_LEASE = "600s"


def records(made: Stage) -> list[Path]:
    return sorted((Path(made.environ["HOME"]) / ".local/state/tfguard/runs").glob("*.json"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_settle_tells_how_a_run_ended_and_then_has_nothing_to_do(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    assert made.tfguard("apply", "-auto-approve").code == 0

    first, second = made.tfguard("settle"), made.tfguard("settle")

    assert first.code == 0, str(first)
    assert "the run ended: succeeded (exit 0)" in first.err
    assert second.code == 0, str(second)
    assert "nothing to settle" in second.err
    assert records(made) == []


@pytest.mark.parametrize("backend", REMOTE)
def test_settle_releases_at_once_what_a_killed_run_left(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    with guarded(made, lease=LONG_LEASE) as process:
        kill_all_of(process)
    assert made.locks()

    result = made.tfguard("settle", "--timeout", "60s")

    assert result.code == 0, str(result)
    assert "the run was killed; the lock that it left behind has been released" in result.err
    assert made.locks() == []
    assert json.loads(made.tfguard("status", "--json").out)["last_run"]["unlocked_by"] == "settle"
    assert "nothing to settle" in made.tfguard("settle").err


def test_settle_of_a_killed_local_run_finds_its_lock_free(stage: Make) -> None:
    made = stage("local")
    with guarded(made) as process:
        kill_all_of(process)

    result = made.tfguard("settle")

    assert result.code == 0, str(result)
    assert "the run ended: killed" in result.err


def test_settle_waits_for_a_keeper_that_brings_the_run_home(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made, lease=LONG_LEASE) as process:
        kill_front_of(process)
        result = made.tfguard("settle", "--timeout", "100s")

    assert result.code == 0, str(result)
    assert "the run ended: orphaned" in result.err
    assert made.locks() == []
    assert made.resources() == ["terraform_data.work"]


@pytest.mark.parametrize("backend", ["dynamodb", "local"])
def test_settle_gives_up_in_time_and_names_the_way_out(stage: Make, backend: Backend) -> None:
    made = stage(backend)

    with guarded(made):
        result = made.tfguard("settle", "--timeout", "1s")
        still = made.locks()

    assert result.code == 75, str(result)
    assert "not settled: its run still goes on" in result.err
    assert len(still) == 1
    assert backend == "local" or f"unlock --id {still[0]['ID']} --force" in result.err
    assert all(len(line) <= 120 for line in result.err.splitlines()), str(result)


@pytest.mark.parametrize("backend", REMOTE)
def test_settle_from_elsewhere_watches_one_lease_before_it_releases(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    with guarded(made, lease=SHORT_LEASE) as process:
        kill_all_of(process)
    _as_if_from_elsewhere(records(made)[0])

    early = made.tfguard("settle", "--timeout", "0s")
    result = made.tfguard("settle", "--timeout", "100s")

    assert early.code in (75, 0), str(early)  # 0 where all this took longer than the lease.
    assert result.code == 0, str(result)
    assert made.locks() == []


def test_settle_from_elsewhere_lets_a_living_run_be(stage: Make) -> None:
    made = stage("dynamodb")

    with guarded(made, lease=SHORT_LEASE):
        _as_if_from_elsewhere(records(made)[0])
        result = made.tfguard("settle", "--timeout", "12s")
        still = made.locks()

    assert result.code == 75, str(result)
    assert len(still) == 1


def _as_if_from_elsewhere(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "boot": "another", "namespace": "pid:[1]"}))


def test_settle_never_releases_anothers_lock(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        kill_all_of(process)
    assert made.terraform("force-unlock", "-force", lock_id).code == 0

    with plain(made):
        theirs = made.locks()
        result = made.tfguard("settle")
        still = made.locks()

    assert result.code == 0, str(result)
    assert still == theirs


def test_a_record_is_private_and_names_no_secret(stage: Make) -> None:
    made = stage("s3", is_initialised=False)
    made.write(access_key=f'"{ACCESS_KEY}"', secret_key=f'"{SECRET_KEY}"')
    made.init()

    with guarded(made):
        path = records(made)[0]
        text, mode = path.read_text(), path.stat().st_mode & 0o777

    assert SECRET_KEY not in text
    assert ACCESS_KEY not in text
    assert mode == 0o600


def test_settle_takes_a_backends_own_credentials_from_its_directory(stage: Make) -> None:
    made = stage("s3", is_initialised=False)
    made.write(access_key=f'"{ACCESS_KEY}"', secret_key=f'"{SECRET_KEY}"')
    del made.environ["AWS_ACCESS_KEY_ID"], made.environ["AWS_SECRET_ACCESS_KEY"]
    made.init()
    with guarded(made, lease=LONG_LEASE) as process:
        kill_all_of(process)

    result = made.tfguard("settle", "--timeout", "60s")

    assert result.code == 0, str(result)
    assert made.locks() == []


def test_settle_settles_all_runs_of_a_job(stage: Make, tmp_path: Path) -> None:
    job = {"RUNNER_TEMP": str(tmp_path / "runner")}
    one, other = stage("s3", name="one"), stage("s3", name="other")
    with guarded(one, lease=LONG_LEASE, **job) as process:
        kill_all_of(process)
    assert other.tfguard("apply", "-auto-approve", **job).code == 0

    elsewhere = other.tfguard("settle")
    result = other.tfguard("settle", "--timeout", "60s", **job)

    assert "nothing to settle" in elsewhere.err
    assert result.code == 0, str(result)
    assert "succeeded (exit 0)" in result.err
    assert "the run was killed" in result.err
    assert one.locks() == []


def test_settle_in_one_directory_leaves_the_runs_of_another_alone(stage: Make) -> None:
    one, other = stage("local", name="one"), stage("local", name="other")

    with guarded(one):
        result = other.tfguard("settle", "--timeout", "0s")

    assert result.code == 0, str(result)
    assert "nothing to settle" in result.err


def test_rubbish_among_the_records_is_passed_over(stage: Make, tmp_path: Path) -> None:
    made = stage("local")
    for name, text in {"a.json": "rubbish", "b.json": "{}", "c.json": "[" * 100000}.items():
        (tmp_path / name).write_text(text)

    result = made.tfguard("settle", "--record", str(tmp_path))

    assert result.code == 0, str(result)
    assert "nothing to settle" in result.err


def test_settle_waits_for_a_terraform_that_outlives_front_and_keeper(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made, lease=LONG_LEASE) as process:
        child = run_record.read(records(made)[0]).child  # type: ignore[union-attr]
        kill_guards_of(process)
        result = made.tfguard("settle", "--timeout", "100s")

    assert result.code == 0, str(result)
    assert made.locks() == []
    assert child is not None
    assert not child.is_alive()
