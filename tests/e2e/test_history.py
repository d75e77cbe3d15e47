"""What a state remembers of its runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Backend, Stage
from tests.e2e.operated import guarded
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


def history(made: Stage) -> list[dict[str, Any]]:
    result = made.tfguard("history", "--json")
    assert result.code == 0, str(result)
    found: list[dict[str, Any]] = json.loads(result.out)["runs"]
    return found


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "local"])
def test_history_shows_the_last_runs_the_newest_first(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    made.tfguard("apply", "-auto-approve")
    made.tfguard("plan")

    runs, text = history(made), made.tfguard("history")

    assert [(run["command"], run["outcome"], run["exit_code"]) for run in runs] == [
        ("plan", "succeeded", 0),
        ("apply", "succeeded", 0),
    ]
    assert text.code == 0
    assert text.out.splitlines()[0].startswith("ENDED")
    assert "succeeded (exit 0)" in text.out.splitlines()[1]


def test_history_tells_who_unlocked_and_why(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made) as process:
        lock_id = made.wait_for_lock()["ID"]
        made.tfguard("unlock", "--id", lock_id, "--yes", "--force", "--reason", "its runner hangs")
        process.communicate(timeout=patience(20))

    unlocked = [run for run in history(made) if run["unlocked_by"]]
    text = made.tfguard("history")

    assert [run["reason"] for run in unlocked] == ["its runner hangs"]
    assert f"unlocked by {unlocked[0]['unlocked_by']} (its runner hangs)" in text.out


def test_a_state_without_runs_has_no_history(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("history")

    assert (result.code, result.err) == (0, "")
    assert "no run is known" in result.out


def test_history_of_an_unknown_pipeline_names_those_there_are(stage: Make) -> None:
    made = stage("dynamodb")
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod: {dir: .}\n")

    result = made.tfguard("history", "porod")

    assert result.code == 78
    assert "no pipeline porod" in result.err
    assert "Did you mean prod?" in result.err
