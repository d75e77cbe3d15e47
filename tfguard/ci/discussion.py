"""Where a job's change is discussed: the pull request or merge request that the job runs for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from tfguard.ci.commit import find_commit
from tfguard.ci.github_event import Issue, Pull, read_event

_MERGED_REF = re.compile(r"refs/pull/(\d{1,12})/")
#: `group/project!12,…`: of a branch's job, the merge requests that are open for it.
_OPEN = re.compile(r"([^!,]+)!(\d{1,12})")


class Discussion(msgspec.Struct, frozen=True, kw_only=True):
    """
    One pull request (`github`) or merge request (`gitlab`): `number` in `project`, reached by the API at `api`.

    `order` grows from one run to the next; `commit` is what is discussed.
    """

    kind: Literal["github", "gitlab"]
    api: str
    project: str
    number: int
    commit: str = ""
    order: tuple[int, int] = (0, 0)


def find_discussion(environ: Mapping[str, str]) -> Discussion | None:
    """Return what the job runs for; None where that is no pull or merge request."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return _on_github(environ)
    if environ.get("GITLAB_CI") == "true":
        return _on_gitlab(environ)
    return None


def _on_github(environ: Mapping[str, str]) -> Discussion | None:
    event = read_event(environ)
    ref = _MERGED_REF.match(environ.get("GITHUB_REF", ""))
    pull, issue = event.pull_request or Pull(), event.issue or Issue()
    number = int(ref[1]) if ref else pull.number or (issue.number if issue.pull_request else 0)
    repository = environ.get("GITHUB_REPOSITORY", "")
    if not number or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return None
    return Discussion(
        kind="github",
        api=environ.get("GITHUB_API_URL", "") or "https://api.github.com",
        project=repository,
        number=number,
        commit=find_commit(environ, event).head,
        order=(_number(environ.get("GITHUB_RUN_ID", "")), _number(environ.get("GITHUB_RUN_ATTEMPT", ""))),
    )


def _on_gitlab(environ: Mapping[str, str]) -> Discussion | None:
    project = environ.get("CI_MERGE_REQUEST_PROJECT_ID", "") or environ.get("CI_PROJECT_ID", "")
    number = _number(environ.get("CI_MERGE_REQUEST_IID", ""))
    if not number and (found := _OPEN.match(environ.get("CI_OPEN_MERGE_REQUESTS", ""))):
        project, number = found[1], int(found[2])
    api = environ.get("CI_API_V4_URL", "")
    if not (project and number and api):
        return None
    return Discussion(
        kind="gitlab",
        api=api,
        project=project,
        number=number,
        commit=find_commit(environ).head,
        order=(_number(environ.get("CI_PIPELINE_ID", "")), _number(environ.get("CI_JOB_ID", ""))),
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0
