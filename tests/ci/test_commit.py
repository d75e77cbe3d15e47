"""Which commit a job runs for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.ci.commit import Commit, find_commit

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "a" * 40}
GITLAB = {"GITLAB_CI": "true", "CI_COMMIT_SHA": "a" * 40}


@pytest.mark.parametrize(
    ("environ", "commit"),
    [
        (GITHUB, Commit("a" * 40)),
        (GITLAB, Commit("a" * 40)),
        ({**GITLAB, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "b" * 40}, Commit("b" * 40, "a" * 40)),
        ({**GITLAB, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": ""}, Commit("a" * 40)),
        ({"BUILDKITE": "true", "BUILDKITE_COMMIT": "HEAD"}, Commit()),
        ({"JENKINS_URL": "https://ci", "BUILD_ID": "1", "GIT_COMMIT": "c" * 40}, Commit("c" * 40)),
        ({"CI": "true"}, Commit()),
        ({}, Commit()),
    ],
)
def test_the_commit_is_the_platforms(environ: dict[str, str], commit: Commit) -> None:
    assert find_commit(environ) == commit


@pytest.mark.parametrize(
    ("event", "commit"),
    [
        (json.dumps({"pull_request": {"head": {"sha": "b" * 40}}}), Commit("b" * 40, "a" * 40)),
        (json.dumps({"pull_request": {"head": {"sha": "a" * 40}}}), Commit("a" * 40)),
        (json.dumps({"pull_request": {"head": {"sha": "<script>"}}}), Commit("a" * 40)),
        (json.dumps({"pull_request": None, "after": "b" * 40}), Commit("a" * 40)),
        ("rubbish", Commit("a" * 40)),
    ],
)
def test_of_a_pull_request_it_is_the_head_that_people_know(event: str, commit: Commit, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(event)

    assert find_commit({**GITHUB, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}) == commit


def test_what_is_checked_out_for_a_target_is_no_merge_of_the_head(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"head": {"sha": "b" * 40}}}))
    job = {**GITHUB, "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_EVENT_NAME": "pull_request_target"}

    assert find_commit(job) == Commit("b" * 40)


def test_an_event_that_is_a_pipe_or_not_there_stops_nothing(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")

    for name in ("pipe", "none", "."):
        assert find_commit({**GITHUB, "GITHUB_EVENT_PATH": str(tmp_path / name)}) == Commit("a" * 40)
