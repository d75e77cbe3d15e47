"""
Which commit a job runs for.

Of a pull or merge request the platform may check out a commit that nobody has written: its head, merged into the
branch that it is for. People know the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tfguard.ci.github_event import Event, Pull, read_event
from tfguard.ci.identity import find_provider

_SHA = re.compile(r"[0-9a-f]{7,64}")
#: Variables of each platform that name it, the head of a request before what is checked out for it.
_HEADS = {
    "gitlab": "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA",  # Only where it is merged for the pipeline.
    "azure": "SYSTEM_PULLREQUEST_SOURCECOMMITID",
}
_COMMITS = {
    "github": "GITHUB_SHA",
    "gitlab": "CI_COMMIT_SHA",
    "buildkite": "BUILDKITE_COMMIT",
    "circleci": "CIRCLE_SHA1",
    "azure": "BUILD_SOURCEVERSION",
    "bitbucket": "BITBUCKET_COMMIT",
    "codebuild": "CODEBUILD_RESOLVED_SOURCE_VERSION",
    "jenkins": "GIT_COMMIT",
}


class Commit(NamedTuple):
    """`head` is the one that people know; `merged` the one that is checked out, empty where that is the same."""

    head: str = ""
    merged: str = ""


def find_commit(environ: Mapping[str, str], event: Event | None = None) -> Commit:
    """
    Say for which commit this job runs. Never raises: what is missing or malformed is left empty.

    `event`: GitHub's, where it has been read.
    """
    provider = find_provider(environ)
    if provider is None:
        return Commit()
    merged = _sha(environ.get(_COMMITS.get(provider.name, ""), ""))
    if provider.name == "github":
        pull = (event or read_event(environ)).pull_request or Pull()
        head = pull.head.sha
    else:
        head = environ.get(_HEADS.get(provider.name, ""), "")
    head = _sha(head) or merged
    # With `pull_request_target` it is the base that GitHub checks out, and the job may check out anything itself.
    is_other = environ.get("GITHUB_EVENT_NAME") == "pull_request_target"
    return Commit(head, merged if merged != head and not is_other else "")


def _sha(text: str) -> str:
    return text if _SHA.fullmatch(text) else ""
