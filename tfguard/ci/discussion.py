"""
Where a job's change is discussed: the pull request or merge request that the job runs for, and who may write there.

A token reaches us in a variable, and Terraform with all its providers would inherit that. So it is taken out of the
environment as soon as we start (`take_token`), before anything of ours could start a program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Literal

import msgspec

from tfguard import redaction
from tfguard.wire import parse

#: Asks for a comment; our action and our template set it.
SWITCH = "TFGUARD_COMMENT"
TOKEN = "TFGUARD_COMMENT_TOKEN"  # noqa: S105 - a name  # nosec B105
_YES = frozenset({"1", "true", "yes"})
_MAX_EVENT_BYTES = 32 * 1024 * 1024
_MERGED_REF = re.compile(r"refs/pull/(\d{1,12})/")
#: `group/project!12,…`: of a branch's job, the merge requests that are open for it.
_OPEN = re.compile(r"([^!,]+)!(\d{1,12})")
_taken = ""


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


class _Head(msgspec.Struct):
    sha: str = ""


class _Pull(msgspec.Struct):
    number: int = 0
    head: _Head = msgspec.field(default_factory=_Head)


class _Issue(msgspec.Struct):
    number: int = 0
    pull_request: dict[str, object] | None = None


class _Event(msgspec.Struct):
    """What has started a job of GitHub's. A comment on a pull request is an event of an issue, which it also is."""

    pull_request: _Pull | None = None
    issue: _Issue | None = None


def wants_comment(environ: Mapping[str, str]) -> bool:
    """Whether the job asks for a comment."""
    return environ.get(SWITCH, "").lower() in _YES


def take_token(environ: MutableMapping[str, str]) -> None:
    """Take the token out of our environment, once; from now on it is masked wherever we speak."""
    global _taken
    found = environ.pop(TOKEN, "").strip()
    if found:
        _taken = found
        redaction.register_secrets([found])


def token(environ: Mapping[str, str], kind: str) -> str:
    """Return what may write the comment; empty where the job gives us nothing."""
    # GitLab's CI_JOB_TOKEN may read, and write no note.
    return _taken or (environ.get("GITHUB_TOKEN", "") if kind == "github" else "")


def find_discussion(environ: Mapping[str, str]) -> Discussion | None:
    """Return what the job runs for; None where that is no pull or merge request."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return _on_github(environ)
    if environ.get("GITLAB_CI") == "true":
        return _on_gitlab(environ)
    return None


def _on_github(environ: Mapping[str, str]) -> Discussion | None:
    event = _event(environ.get("GITHUB_EVENT_PATH", ""))
    ref = _MERGED_REF.match(environ.get("GITHUB_REF", ""))
    pull, issue = event.pull_request or _Pull(), event.issue or _Issue()
    number = int(ref[1]) if ref else pull.number or (issue.number if issue.pull_request else 0)
    repository = environ.get("GITHUB_REPOSITORY", "")
    if not number or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return None
    return Discussion(
        kind="github",
        api=environ.get("GITHUB_API_URL", "") or "https://api.github.com",
        project=repository,
        number=number,
        commit=_commit(pull.head.sha or environ.get("GITHUB_SHA", "")),
        order=(_number(environ.get("GITHUB_RUN_ID", "")), _number(environ.get("GITHUB_RUN_ATTEMPT", ""))),
    )


def _event(path: str) -> _Event:
    try:
        with open(path, "rb") as file:
            return parse(file.read(_MAX_EVENT_BYTES), _Event)
    except (OSError, ValueError, msgspec.DecodeError, RecursionError):
        return _Event()


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
        commit=_commit(environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "") or environ.get("CI_COMMIT_SHA", "")),
        order=(_number(environ.get("CI_PIPELINE_ID", "")), _number(environ.get("CI_JOB_ID", ""))),
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def _commit(text: str) -> str:
    return text if re.fullmatch("[0-9a-f]{7,64}", text) else ""
