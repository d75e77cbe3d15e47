"""
The states of a project on GitLab, as its GraphQL API lists them: its page "GraphQL API resources", `TerraformState`.

There is no list in the REST API. A job's own token (CI_JOB_TOKEN) is refused: it takes a personal, project or group
access token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from tfguard.backends.http.addresses import shown
from tfguard.backends.http.client import Client
from tfguard.errors import ConfigError, StoreDenied, StoreUnavailable
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.http.spec import HttpAccess

_PLACE = re.compile(r"(?P<api>.*/api/)v4/projects/(?P<project>[^/]+)/terraform/state/[^/?]+")
_FIELDS = "terraformStates(first: 100, after: $after) { nodes { name lockedAt } pageInfo { hasNextPage endCursor } }"
_BY_ID = f"query($project: [ID!], $after: String) {{ projects(ids: $project) {{ nodes {{ {_FIELDS} }} }} }}"
_BY_PATH = f"query($project: ID!, $after: String) {{ project(fullPath: $project) {{ {_FIELDS} }} }}"
#: More pages than any project has.
_MAX_PAGES = 1000
_ADVICE = (
    "It takes an access token with the scope api, of a person, the project or its group;"
    " a job's own (CI_JOB_TOKEN) lists nothing. One state's lock is shown without: tfguard status"
)


class _Listed(msgspec.Struct, frozen=True, rename="camel"):
    """A state of the project."""

    name: str
    locked_at: str | None


class _PageInfo(msgspec.Struct, frozen=True, rename="camel"):
    has_next_page: bool
    end_cursor: str | None


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    nodes: list[_Listed]
    page_info: _PageInfo


class _Project(msgspec.Struct, frozen=True, rename="camel"):
    terraform_states: _Page | None


class _Projects(msgspec.Struct, frozen=True):
    nodes: list[_Project]


class _Data(msgspec.Struct, frozen=True):
    project: _Project | None = None
    projects: _Projects | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: _Data


def states_beside(address: str, access: HttpAccess) -> dict[str, bool]:
    """
    Return the states of the same project by their names, and whether each is locked. Ours are among them.

    Raises as `Backend.locks_beside` does. ConfigError: The server is not GitLab.
    """
    place = _PLACE.fullmatch(address.partition("?")[0])
    if place is None:
        raise ConfigError(
            "A server of the http backend does not list its locks.", "Ask for one state's: tfguard status"
        )
    with closing(Client(access)) as client:
        listed = _listed(client, place["api"], unquote(place["project"]))
        return {each.name: each.locked_at is not None for each in listed}


def _listed(client: Client, api: str, project: str) -> Iterator[_Listed]:
    query, variable = (_BY_ID, [f"gid://gitlab/Project/{project}"]) if project.isdecimal() else (_BY_PATH, project)
    after: str | None = None
    for _ in range(_MAX_PAGES):
        variables = {"project": variable, "after": after}
        page = _page(client, f"{api}graphql", publish({"query": query, "variables": variables}))
        yield from page.nodes
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            return


def _page(client: Client, address: str, body: bytes) -> _Page:
    try:
        data = parse(client.query(address, body, _ADVICE).body, _Answer).data
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise StoreUnavailable(f"What answers is not GitLab's list of states: {shown(address)}.") from error
    project = next(iter(data.projects.nodes), None) if data.projects else data.project
    if project is None or project.terraform_states is None:
        what = "GitLab does not list this project's states for us."
        raise StoreDenied(what, _ADVICE, action="listing", resource=shown(address))
    return project.terraform_states
