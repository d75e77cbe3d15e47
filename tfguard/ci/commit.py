"""
Which commit a job runs for.

Of a pull or merge request the platform may check out a commit that nobody has written: its head, merged into the
branch that it is for. People know the head.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tfguard.ci.identity import find_provider
from tfguard.wire import parse

#: An event is at most 25 MiB (a webhook's limit); those of pull requests are a few KiB.
_MAX_EVENT_BYTES = 1024 * 1024
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


class _Head(msgspec.Struct):
    sha: str = ""


class _PullRequest(msgspec.Struct):
    head: _Head = msgspec.field(default_factory=_Head)


class _Event(msgspec.Struct):
    pull_request: _PullRequest | None = None


def find_commit(environ: Mapping[str, str]) -> Commit:
    """Say for which commit this job runs. Never raises: what is missing or malformed is left empty."""
    provider = find_provider(environ)
    if provider is None:
        return Commit()
    merged = _sha(environ.get(_COMMITS.get(provider.name, ""), ""))
    head = _github_head(environ) if provider.name == "github" else environ.get(_HEADS.get(provider.name, ""), "")
    head = _sha(head) or merged
    return Commit(head, merged if merged != head else "")


def _sha(text: str) -> str:
    return text if _SHA.fullmatch(text) else ""


def _github_head(environ: Mapping[str, str]) -> str:
    try:
        descriptor = os.open(environ.get("GITHUB_EVENT_PATH", ""), os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            event = parse(file.read(_MAX_EVENT_BYTES), _Event)
    except (OSError, ValueError, msgspec.DecodeError, RecursionError):
        return ""
    return event.pull_request.head.sha if event.pull_request is not None else ""
