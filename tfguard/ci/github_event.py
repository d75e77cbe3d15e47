"""What has started a job of GitHub's, as the runner leaves it in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from tfguard.wire import parse

#: An event is at most 25 MiB (a webhook's limit); those of pull requests are a few KiB.
_MAX_BYTES = 32 * 1024 * 1024


class Head(msgspec.Struct, frozen=True):
    """The commit at the top of a pull request's branch."""

    sha: str = ""


class Pull(msgspec.Struct, frozen=True):
    """A pull request."""

    number: int = 0
    head: Head = msgspec.field(default_factory=Head)


class Issue(msgspec.Struct, frozen=True):
    """An issue; with `pull_request` it is one."""

    number: int = 0
    pull_request: dict[str, object] | None = None


class Event(msgspec.Struct, frozen=True):
    """A comment on a pull request is an event of an issue, which it also is."""

    pull_request: Pull | None = None
    issue: Issue | None = None


def read_event(environ: Mapping[str, str]) -> Event:
    """Return the event of this job. Never raises, and never waits: what cannot be read tells nothing."""
    try:
        # Not to wait where it is a pipe that nobody writes to.
        descriptor = os.open(environ.get("GITHUB_EVENT_PATH", ""), os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return parse(file.read(_MAX_BYTES), Event)
    except (OSError, ValueError, msgspec.DecodeError):
        return Event()
